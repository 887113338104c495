"""The key that days are signed with."""

from __future__ import annotations

import base64
import os

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

_SEED_BYTES = 32


class NoSigningKey(Exception):
    """GREENROOM_SIGNING_KEY is not `name:base64` of 32 bytes: `printf 'd1:%s' $(openssl rand -base64 32)` makes one."""

    def __init__(self) -> None:
        super().__init__(self.__doc__)


class SigningKey:
    """Ed25519. `spec` is `name:base64` of the 32 bytes of its seed. Raises NoSigningKey."""

    def __init__(self, spec: str) -> None:
        self.key_id, _, encoded = spec.partition(":")
        try:
            seed = base64.b64decode(encoded, validate=True)
        except ValueError:
            raise NoSigningKey from None
        if len(seed) != _SEED_BYTES or not self.key_id:
            raise NoSigningKey
        self._key = Ed25519PrivateKey.from_private_bytes(seed)
        self.public = self._key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw).hex()

    @staticmethod
    def generate(name: str) -> str:
        return f"{name}:{base64.b64encode(os.urandom(_SEED_BYTES)).decode()}"

    def sign(self, content: bytes) -> str:
        """In hexadecimal."""
        return self._key.sign(content).hex()


def signed_by(public: str, content: bytes, signature: str) -> bool:
    """Whether the signature is that of the key, both in hexadecimal."""
    try:
        Ed25519PublicKey.from_public_bytes(bytes.fromhex(public)).verify(bytes.fromhex(signature), content)
    except (ValueError, InvalidSignature):
        return False
    return True
