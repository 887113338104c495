"""Keys and seals: who can read what in a log that is kept for ever.

- `Keyring` wraps what rests in Postgres (account data keys, worker tokens, webhook secrets) under master keys.
- `DataKey` encrypts erasable fields: one for each session, under its account's, which has what is of no session.
- `seal` / `unseal` carry a task to one worker; `sign_state` / `state_is_genuine` show that a worker may take tasks.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
from functools import lru_cache

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite

from schemas.assignments import Task
from schemas.events import Encrypted, WorkerState

_NONCE_BYTES = 12
_SUITE = Suite(KEM.X25519, KDF.HKDF_SHA256, AEAD.AES_256_GCM)
_TASK_VERSION = 1
_task_encoder = msgspec.json.Encoder(order="sorted")
_task_decoder = msgspec.json.Decoder(Task)


class SealError(Exception):
    """The bytes cannot be opened: wrong key, wrong associated data, or changed."""


def _encrypt(key: AESGCM, plain: bytes, aad: bytes) -> bytes:
    nonce = os.urandom(_NONCE_BYTES)
    return nonce + key.encrypt(nonce, plain, aad)


def _decrypt(key: AESGCM, sealed: bytes, aad: bytes) -> bytes:
    try:
        return key.decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], aad)
    except (InvalidTag, ValueError) as broken:
        raise SealError("cannot be opened with this key and associated data") from broken


def field_aad(subject_id: str, field: str) -> str:
    """The associated data of an erasable field: it opens for no other subject and no other field."""
    return f"{subject_id}.{field}"


def data_key_id(subject_id: str) -> str:
    """Of a session's or an account's data key: it follows from the id, so nobody has to look it up."""
    return f"dk_{subject_id.partition('_')[2]}"


class Keyring:
    """Named master keys; the first encrypts, all decrypt. `spec` is `name:base64[,name:base64…]`, 32 bytes each."""

    def __init__(self, spec: str) -> None:
        self._keys: dict[str, AESGCM] = {}
        for part in filter(None, (p.strip() for p in spec.split(","))):
            name, _, encoded = part.partition(":")
            try:
                self._keys[name] = AESGCM(base64.b64decode(encoded, validate=True))
            except ValueError as wrong:
                raise SealError(f"master key {name!r} is not 32 bytes in base64") from wrong
        if not self._keys:
            raise SealError("GREENROOM_MASTER_KEYS holds no key")
        self.current = next(iter(self._keys))

    @staticmethod
    def generate(name: str) -> str:
        return f"{name}:{base64.b64encode(os.urandom(32)).decode()}"

    def wrap(self, plain: bytes, aad: str) -> tuple[str, bytes]:
        """Returns (key id, sealed bytes). `aad`, associated data: must be given again to unwrap."""
        return self.current, _encrypt(self._keys[self.current], plain, aad.encode())

    def unwrap(self, key_id: str, sealed: bytes, aad: str) -> bytes:
        if key_id not in self._keys:
            raise SealError(f"master key {key_id!r} is not in GREENROOM_MASTER_KEYS")
        return _decrypt(self._keys[key_id], sealed, aad.encode())


class DataKey(msgspec.Struct, frozen=True):
    """The data key of a session or an account. Once it is dropped, the fields under it are erased from the log."""

    key_id: str
    key: AESGCM

    @classmethod
    def of(cls, subject_id: str, secret: bytes) -> DataKey:
        """`secret`: 32 bytes, as `generate` makes them."""
        return cls(data_key_id(subject_id), AESGCM(secret))

    @staticmethod
    def generate() -> bytes:
        return os.urandom(32)

    def wrap(self, secret: bytes, subject_id: str) -> bytes:
        """The secret of a session's key, under this account's: dropping the one drops the other."""
        return _encrypt(self.key, secret, data_key_id(subject_id).encode())

    def unwrap(self, wrapped: bytes, subject_id: str) -> DataKey:
        """Raises SealError."""
        key_id = data_key_id(subject_id)
        return DataKey(key_id, AESGCM(_decrypt(self.key, wrapped, key_id.encode())))

    def encrypt(self, text: str, aad: str) -> Encrypted:
        sealed = _encrypt(self.key, text.encode(), aad.encode())
        return Encrypted(enc=base64.b64encode(sealed).decode(), key_id=self.key_id)

    def decrypt(self, field: Encrypted, aad: str) -> str:
        if field.key_id != self.key_id:
            raise SealError(f"the field is under data key {field.key_id!r}")
        try:
            sealed = base64.b64decode(field.enc)
        except ValueError as broken:
            raise SealError("the field is no base64") from broken
        return _decrypt(self.key, sealed, aad.encode()).decode()


class KeySet:
    """The data keys that somebody may open fields with. Of an erased session or account it is empty."""

    def __init__(self, *keys: DataKey) -> None:
        self._keys = {key.key_id: key for key in keys}

    def __len__(self) -> int:
        return len(self._keys)

    def decrypt(self, field: Encrypted, aad: str) -> str:
        """Raises SealError."""
        key = self._keys.get(field.key_id)
        if key is None:
            raise SealError(f"data key {field.key_id!r} is not there")
        return key.decrypt(field, aad)


NO_KEYS = KeySet()


def new_worker_key() -> X25519PrivateKey:
    return X25519PrivateKey.generate()


def public_text(key: X25519PrivateKey) -> str:
    return base64.b64encode(key.public_key().public_bytes_raw()).decode()


def seal(task: Task, attempt: int, worker_id: str, public_key: str) -> str:
    """HPKE to the worker's key; version, session, attempt and worker are bound in, so it opens nowhere else."""
    sealed = _SUITE.encrypt(
        _task_encoder.encode(task), _public(public_key), info=_task_info(task.session_id, attempt, worker_id)
    )
    return base64.b64encode(sealed).decode()


@lru_cache(1024)
def _public(text: str) -> X25519PublicKey:
    """Of a worker, which is given many tasks."""
    return X25519PublicKey.from_public_bytes(base64.b64decode(text))


def unseal(sealed: str, session_id: str, attempt: int, worker_id: str, key: X25519PrivateKey) -> Task:
    """Raises SealError."""
    try:
        plain = _SUITE.decrypt(base64.b64decode(sealed), key, info=_task_info(session_id, attempt, worker_id))
        return _task_decoder.decode(plain)
    except (InvalidTag, ValueError, msgspec.DecodeError) as broken:
        raise SealError("the task is not sealed to this worker and attempt") from broken


def _task_info(session_id: str, attempt: int, worker_id: str) -> bytes:
    return f"greenroom task {_TASK_VERSION}\0{session_id}\0{attempt}\0{worker_id}".encode()


def dump_task(task: Task) -> bytes:
    return _task_encoder.encode(task)


def load_task(data: bytes) -> Task:
    return _task_decoder.decode(data)


def sign_state(state: WorkerState, join_secret: str) -> WorkerState:
    return msgspec.structs.replace(state, mac=_state_mac(state, join_secret))


def state_is_genuine(state: WorkerState, join_secret: str) -> bool:
    """Without the join secret nobody registers as a worker, so nobody who can only write to Kafka harvests tokens."""
    return bool(join_secret) and hmac.compare_digest(state.mac, _state_mac(state, join_secret))


def _state_mac(state: WorkerState, join_secret: str) -> str:
    plain = _task_encoder.encode(msgspec.structs.replace(state, mac=""))
    return hmac.new(join_secret.encode(), plain, hashlib.sha256).hexdigest()
