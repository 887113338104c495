"""The broker of a stack."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from stack import kafka
from stack import servers as embedded
from stack.ports import free_ports

pytestmark = pytest.mark.servers


def test_a_broker_that_ends_leaves_its_classes_for_the_next_start(tmp_path: Path) -> None:
    """The JVM does so only beside an archive of the JDK's own, and says nothing where there is none: each start took
    half as much again, a minute beside ten sessions."""
    jars = kafka.install(embedded.cache_folder(), lambda _, __: None)
    java, *options = kafka.prepare(jars, tmp_path / "kafka", *free_ports(2)).argv
    sharing = [option for option in options if "Share" in option]
    archive = tmp_path / "classes.jsa"
    as_here = [f"-XX:SharedArchiveFile={archive}" if "File" in option else option for option in sharing]
    subprocess.run([java, *as_here, "-version"], check=True, timeout=60, capture_output=True)
    assert archive.exists()
