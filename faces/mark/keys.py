"""The secret of an installation's marks. The first key of a ring marks, all of them verify."""

from __future__ import annotations

import base64
import hmac
import os
from collections.abc import Iterator
from functools import cached_property

from faces.mark.carriers import Carriers
from faces.mark.code import TAG_BITS

_SECRET_BYTES = 32


class BadMarkKeys(Exception):
    """GREENROOM_MARK_KEYS is not `name:base64` of 32 bytes, comma-separated:
    `printf 'k1:%s' $(openssl rand -base64 32)` makes one."""

    def __init__(self) -> None:
        super().__init__(" ".join((self.__doc__ or "").split()))


class MarkKey:
    """`key_id`: its name, which the log has. Carriers and tags have secrets of their own: who knows the ones cannot
    make the others."""

    def __init__(self, key_id: str, secret: bytes) -> None:
        self.key_id = key_id
        self._secret = secret
        self._tags = hmac.digest(secret, b"greenroom mark 1 tags", "sha256")

    @cached_property
    def carriers(self) -> Carriers:
        return Carriers(hmac.digest(self._secret, b"greenroom mark 1 carriers", "sha256"))

    def tag(self, name: str) -> int:
        """40 bits, of a session's id or a file's."""
        return int.from_bytes(hmac.digest(self._tags, name.encode(), "sha256")[: TAG_BITS // 8], "big")


class MarkKeyring:
    """`spec`: `name:base64[,name:base64…]`, 32 bytes each. Raises BadMarkKeys, also for a ring without a key."""

    def __init__(self, spec: str) -> None:
        self._keys: dict[str, MarkKey] = {}
        for part in filter(None, (each.strip() for each in spec.split(","))):
            name, _, encoded = part.partition(":")
            try:
                secret = base64.b64decode(encoded, validate=True)
            except ValueError:
                raise BadMarkKeys from None
            if not name or name in self._keys or len(secret) != _SECRET_BYTES:
                raise BadMarkKeys
            self._keys[name] = MarkKey(name, secret)
        if not self._keys:
            raise BadMarkKeys

    @staticmethod
    def generate(name: str) -> str:
        return f"{name}:{base64.b64encode(os.urandom(_SECRET_BYTES)).decode()}"

    @property
    def current(self) -> MarkKey:
        return next(iter(self))

    def __iter__(self) -> Iterator[MarkKey]:
        return iter(self._keys.values())

    def get(self, key_id: str) -> MarkKey | None:
        return self._keys.get(key_id)
