"""CloudEvents 1.0 in Kafka's binary mode: the envelope in headers, canonical JSON as the value."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Protocol

import msgspec
from msgspec import Struct

from events.upcasting import UPCASTERS
from schemas.bounds import ID_CHARS
from schemas.events import CATALOGUE, TYPE_OF
from schemas.ids import EVENT, new_id
from schemas.times import LAST_MS, from_wire, now_ms, to_wire

type_decoders = {name: msgspec.json.Decoder(known.struct) for name, known in CATALOGUE.items()}
_encoder = msgspec.json.Encoder(order="sorted")
_SCHEMA = {name: f"urn:greenroom:{name}:{known.version}" for name, known in CATALOGUE.items()}
_NAME_OF_SCHEMA = {urn: name for name, urn in _SCHEMA.items()}

_NAMES = frozenset(CATALOGUE)
_MOST_DEPTH = 64
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_VERSION = re.compile(r"urn:greenroom:([a-z_.]+):([^:]*)")
_STRING = re.compile(rb'"(?:[^"\\]|\\.)*"?', re.DOTALL)
_BRACKET = re.compile(rb"[\[\]{}]")
_QUOTED = re.compile(r"'.*'", re.DOTALL)
_BROKEN = (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError)
"""All that reading foreign bytes raises: msgspec, UTF-8, dates, null headers, upcasters that find another shape."""

Headers = list[tuple[str, bytes]]


class Record(Protocol):
    """What Kafka hands out, as far as it is read here."""

    @property
    def topic(self) -> str: ...
    @property
    def partition(self) -> int: ...
    @property
    def offset(self) -> int: ...
    @property
    def timestamp(self) -> int: ...
    @property
    def key(self) -> bytes | None: ...
    @property
    def value(self) -> bytes | None: ...
    @property
    def headers(self) -> Iterable[tuple[str, bytes | None]]: ...


class Malformed(Exception):
    """The bytes are no envelope or no JSON of their type: rejected for ever, by everybody.

    The message is the reason, without a byte of the record: it is logged.
    """


class Unknown(Exception):
    """A type or version that this software does not know yet: the session is parked until it does."""


class Event(Struct, frozen=True, gc=False):
    """One event with its envelope. `time_ms` is the emitter's (`ce_time`)."""

    id: str
    type: str
    source: str
    subject: str
    time_ms: int
    data: Struct
    account: str | None = None
    causation: str | None = None
    correlation: str | None = None
    traceparent: str | None = None


def new_event(
    data: Struct,
    *,
    source: str,
    subject: str,
    account: str | None = None,
    causation: str | None = None,
    correlation: str | None = None,
    traceparent: str | None = None,
    event_id: str | None = None,
) -> Event:
    """Stamp `data` with an id and the time. Keep the Event to send the same one again: its id must not change."""
    return Event(
        id=event_id or new_id(EVENT),
        type=TYPE_OF[type(data)],
        source=source,
        subject=subject,
        time_ms=now_ms(),
        data=data,
        account=account,
        causation=causation,
        correlation=correlation,
        traceparent=traceparent,
    )


def encode(event: Event) -> tuple[bytes, Headers]:
    """Returns (value, headers); the record's key is `event.subject`."""
    headers: Headers = [
        ("ce_specversion", b"1.0"),
        ("content-type", b"application/json"),
        ("ce_id", event.id.encode()),
        ("ce_type", event.type.encode()),
        ("ce_source", event.source.encode()),
        ("ce_subject", event.subject.encode()),
        ("ce_time", to_wire(event.time_ms).encode()),
        ("ce_dataschema", _SCHEMA[event.type].encode()),
    ]
    for name, value in (
        ("ce_account", event.account),
        ("ce_causation", event.causation),
        ("ce_correlation", event.correlation),
        ("ce_traceparent", event.traceparent),
    ):
        if value is not None:
            headers.append((name, value.encode()))
    return _encoder.encode(event.data), headers


def decode(record: Record) -> Event:
    """Raises Malformed for what can never be read, Unknown for what a newer version may read, and nothing else."""
    try:
        return _decode(record)
    except _BROKEN as broken:
        raise Malformed(_reason(broken)) from None


def _decode(record: Record) -> Event:
    fields = dict(record.headers)
    subject, event_id = _id(fields, "ce_subject"), _id(fields, "ce_id")
    if record.key != fields["ce_subject"]:
        raise Malformed("the key is not ce_subject")  # order is by key: such an event has no place in its subject's
    time_ms = from_wire(_text(fields, "ce_time"))
    if not (0 <= time_ms <= LAST_MS and 0 <= record.timestamp <= LAST_MS):
        raise Malformed("ce_time or the append time is not between 1970 and 3000")
    source, declared, schema = _text(fields, "ce_source"), _text(fields, "ce_type"), _text(fields, "ce_dataschema")
    name = _NAME_OF_SCHEMA.get(schema)
    if name is None:
        _id(fields, "ce_type"), _id(fields, "ce_dataschema")  # they are stored with what is parked
    elif name != declared:
        raise Malformed("ce_type is not that of ce_dataschema")
    if record.value is None:
        raise Malformed("no value")
    if _deep(record.value):
        raise Malformed(f"the value is nested more than {_MOST_DEPTH} deep")
    data = type_decoders[name].decode(record.value) if name else _upcast(schema, declared, record.value)
    return Event(
        event_id,
        declared,
        source,
        subject,
        time_ms,
        data,
        _optional(fields, "ce_account"),
        _optional(fields, "ce_causation"),
        _optional(fields, "ce_correlation"),
        _optional(fields, "ce_traceparent"),
    )


def _text(fields: dict[str, bytes | None], name: str) -> str:
    value = fields.get(name)
    if value is None:
        raise Malformed(f"no {name}")
    return value.decode()


def _id(fields: dict[str, bytes | None], name: str) -> str:
    text = _text(fields, name)
    plain = text.isascii() and text.isprintable()  # the usual case, faster than the expression
    if not 0 < len(text) <= ID_CHARS or (not plain and _CONTROL.search(text)):
        raise Malformed(f"{name} is empty, longer than {ID_CHARS} characters, or has control characters")
    return text


def _optional(fields: dict[str, bytes | None], name: str) -> str | None:
    value = fields.get(name)
    return None if value is None else value.decode()


def _deep(value: bytes) -> bool:
    """Counted here: where Python gives up depends on how deep the caller is, and all must say the same of a record."""
    if value.count(b"[") + value.count(b"{") <= _MOST_DEPTH:
        return False
    depth = 0
    for bracket in _BRACKET.findall(_STRING.sub(b"", value)):
        depth += 1 if bracket in b"[{" else -1
        if depth > _MOST_DEPTH:
            return True
    return False


def _reason(broken: Exception) -> str:
    """What is wrong and where, without the value that is."""
    if isinstance(broken, msgspec.MsgspecError):
        return "the value is not of its schema: " + _QUOTED.sub("…", str(broken))
    if isinstance(broken, UnicodeDecodeError):
        return "a text is not UTF-8"
    return f"not readable: {type(broken).__name__}"


def _upcast(schema: str, declared: str, value: bytes) -> Struct:
    found = _VERSION.fullmatch(schema)
    if found is None or found[1] != declared or declared not in _NAMES:
        raise Unknown(f"unknown type {declared} ({schema})")
    if not re.fullmatch("[1-9][0-9]{0,8}", found[2]):  # str.isdigit says yes to ², int does not
        raise Malformed("the version of ce_dataschema is no number")
    number, known = int(found[2]), CATALOGUE[declared]
    if number > known.version:
        raise Unknown(f"{declared} version {number} is newer than this software ({known.version})")
    content = msgspec.json.decode(value)
    for n in range(number, known.version):
        if (declared, n) not in UPCASTERS:
            raise Unknown(f"no way from {declared} version {n} to {n + 1}")
        content = UPCASTERS[declared, n](content)
    return msgspec.convert(content, known.struct)
