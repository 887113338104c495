"""promtool, Prometheus' own checker of rules and configurations: built once into the user's cache, of its Go module."""

from __future__ import annotations

import subprocess
from pathlib import Path

from stack.building import built
from stack.servers import alone, cache_folder

VERSION = "3.16.0"
"""Of Prometheus, as docker-compose.yml runs it. Its Go module counts 0.316.0."""
_PACKAGE = "github.com/prometheus/prometheus/cmd/promtool@v0.316.0"
_TAGS = ("remove_all_sd", "enable_dns_sd")
"""Of the ways to find targets the one that prometheus.yml has: the others are most of what is built otherwise."""


def install() -> Path:
    cache = cache_folder()
    with alone(cache / "promtool.lock"):
        return built(_PACKAGE, cache / f"promtool-{VERSION}", _TAGS)


def run(*args: str | Path) -> tuple[int, str]:
    """(exit code, what it said)"""
    done = subprocess.run([install(), *args], capture_output=True, text=True, timeout=60, check=False)
    return done.returncode, done.stdout + done.stderr
