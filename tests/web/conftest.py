"""What all tests of the console stand on."""

from __future__ import annotations

from pathlib import Path

import pytest

from tools import web


@pytest.fixture(scope="session")
def console() -> Path:
    """As it was built before: `make test` does. Here it would be a part of some test's time."""
    if not web.is_built():
        pytest.skip("needs the console, built: make web (#15)")
    return web.BUILT
