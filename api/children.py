"""What a process that the API starts learns of its environment: the settings that it reads, and no secret beside."""

from __future__ import annotations

import os

from pydantic import SecretStr
from pydantic_settings import BaseSettings

_OF_THE_MACHINE = ("PATH", "HOME", "LANG", "TZ", "LD_LIBRARY_PATH", "PYTHONPATH", "SSL_CERT_FILE", "SSL_CERT_DIR")
_OF_THE_DATABASE = ("PG",)
"""libpq looks at PGPASSWORD, PGPASSFILE, PGSSLROOTCERT and others of this name, for the API's connections too."""


def environment(settings: BaseSettings, *kinds: type[BaseSettings]) -> dict[str, str]:
    """`settings`: those of this process, of which `kinds` are a part."""
    names = [name for name in os.environ if name in _OF_THE_MACHINE or name.startswith(_OF_THE_DATABASE)]
    own = {name: os.environ[name] for name in names}
    told = {name: getattr(settings, name) for kind in kinds for name in kind.model_fields}
    return own | {f"GREENROOM_{name.upper()}": _plain(value) for name, value in told.items()}


def _plain(value: object) -> str:
    return value.get_secret_value() if isinstance(value, SecretStr) else str(value)
