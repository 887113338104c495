"""A TypeScript client that is generated from the committed OpenAPI document compiles, and tells mistakes."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from schemas.documents import OPENAPI
from tests.clients import environments

pytestmark = [
    pytest.mark.processes,
    pytest.mark.skipif(shutil.which("npm") is None, reason="needs node and npm, which nothing else of ours does"),
]

OPTIONAL = "--default-non-nullable=false"
"""A field of a request that has a default may be left out, which the tool has otherwise."""
STRICT = [
    *("--noEmit", "--strict", "--exactOptionalPropertyTypes", "--noUncheckedIndexedAccess", "--noImplicitOverride"),
    *("--target", "es2022", "--lib", "es2022,dom", "--module", "nodenext"),
]


def test_a_generated_client_compiles(tmp_path: Path) -> None:
    tools = environments.typescript()
    shutil.copy(environments.HERE / "client.ts", tmp_path)
    commands: list[list[str | Path]] = [
        [tools / "openapi-typescript", OPENAPI, OPTIONAL, "--output", tmp_path / "api.ts"],
        [tools / "tsc", *STRICT, tmp_path / "client.ts"],
    ]
    for command in commands:
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
