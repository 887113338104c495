"""Where the published clients live: environments of their own (livekit-agents pins another `livekit`)."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from stack.servers import alone, cache_folder

HERE = Path(__file__).parent
EXAMPLES = HERE.parent.parent / "examples"
_WITHIN_S = 280
"""The first time it is downloaded; less than the time of a test, so that what failed is told."""


def python() -> Path:
    """The interpreter that knows the published Python clients, as `requirements.lock` has them."""
    lock = HERE / "requirements.lock"

    def make(folder: Path) -> None:
        _synced(folder, lock)

    return kept("python", [lock], make) / "bin" / "python"


def analyst() -> Path:
    """The interpreter that knows what examples/analyst.py needs."""
    lock = EXAMPLES / "requirements.lock"

    def make(folder: Path) -> None:
        _synced(folder, lock)

    return kept("analyst", [lock], make) / "bin" / "python"


def typescript() -> Path:
    """The folder of the commands that make and compile a TypeScript client, as `package-lock.json` has them."""
    files = [HERE / name for name in ("package.json", "package-lock.json", ".npmrc")]

    def make(folder: Path) -> None:
        folder.mkdir(parents=True)
        for file in files:
            shutil.copy(file, folder)
        run("npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", cwd=folder)

    return kept("typescript", files, make) / "node_modules" / ".bin"


def _synced(folder: Path, lock: Path) -> None:
    uv = Path(sys.executable).with_name("uv")
    run(uv, "venv", "--quiet", "--python", sys.executable, folder)
    run(uv, "pip", "sync", "--quiet", "--require-hashes", "--python", folder / "bin" / "python", lock)


def kept(kind: str, locks: list[Path], make: Callable[[Path], None]) -> Path:
    """Made once for all runs and checkouts with these lock files. The mark is set last: what was left half made, by
    a run that died or had no network, is made again."""
    key = hashlib.sha256(b"".join(lock.read_bytes() for lock in locks) + sys.version.encode()).hexdigest()[:16]
    folder = cache_folder() / "clients" / f"{kind}-{key}"
    done = folder / "done"
    with alone(folder.with_suffix(".lock")):
        if not done.exists():
            shutil.rmtree(folder, ignore_errors=True)
            make(folder)
            done.touch()
    return folder


def run(*command: str | Path, cwd: Path | None = None) -> None:
    """Raises AssertionError with what it said."""
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=_WITHIN_S, check=False)
    assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
