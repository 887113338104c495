"""The environments of the published clients."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.clients import environments


@pytest.fixture(scope="session")
def python() -> Path:
    return environments.python()
