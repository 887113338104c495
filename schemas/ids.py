"""Ids: a prefix that names the kind, and a ULID."""

from __future__ import annotations

import hashlib

from ulid import ULID

SESSION = "sess"
AVATAR = "av"
REQUEST = "req"
EVENT = "evt"
USAGE = "use"
WEBHOOK_ENDPOINT = "we"
WEBHOOK_DELIVERY = "whd"
ACCOUNT = "acct"
API_KEY = "key"
WORKER = "wrk"
CREDIT_GRANT = "cg"


def new_id(prefix: str) -> str:
    return f"{prefix}_{ULID()}"


def time_of(made_id: str) -> int:
    """The milliseconds that a ULID carries; 0 of what carries none, such as a foreign producer's id."""
    try:
        return int(ULID.from_str(made_id.partition("_")[2]).milliseconds)
    except ValueError:
        return 0


def derived_id(prefix: str, time_ms: int, *parts: str) -> str:
    """The same id for the same inputs in every replay: a ULID of `time_ms` whose random part is a hash of `parts`."""
    digest = hashlib.sha256("\0".join(parts).encode()).digest()
    return f"{prefix}_{ULID(time_ms.to_bytes(6, 'big') + digest[:10])}"
