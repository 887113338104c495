"""CloudEvents 1.0 in Kafka's binary mode: the envelope in headers, canonical JSON as the value."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import msgspec
from msgspec import Struct

from schemas.events import CURRENT, TYPE_OF
from schemas.ids import EVENT, new_id
from schemas.times import from_wire, now_ms, to_wire

type_decoders = {name: msgspec.json.Decoder(struct) for name, (_, struct) in CURRENT.items()}
_encoder = msgspec.json.Encoder(order="sorted")
_SCHEMA = {name: f"urn:greenroom:{name}:{version}" for name, (version, _) in CURRENT.items()}
_NAME_OF_SCHEMA = {urn: name for name, urn in _SCHEMA.items()}

Headers = list[tuple[str, bytes]]
Upcaster = Callable[[dict[str, Any]], dict[str, Any]]

UPCASTERS: dict[tuple[str, int], Upcaster] = {}
"""(type, n) → the pure function from version n to n + 1, applied on read; the log is never rewritten."""


class Malformed(Exception):
    """The bytes are no envelope or no JSON of their type: rejected for ever, by everybody."""


class Unknown(Exception):
    """A type or version that this software does not know yet: the session is parked until it does."""


class Event(Struct, frozen=True):
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


def decode(value: bytes | None, headers: Iterable[tuple[str, bytes]]) -> Event:
    """Raises Malformed for what can never be read, Unknown for what a newer version may read."""
    fields = dict(headers)
    try:
        event_id = fields["ce_id"].decode()
        subject = fields["ce_subject"].decode()
        source = fields["ce_source"].decode()
        time_ms = from_wire(fields["ce_time"].decode())
        schema = fields["ce_dataschema"].decode()
        declared = fields["ce_type"].decode()
    except (KeyError, ValueError) as broken:
        raise Malformed(f"no CloudEvents envelope: {broken!r}") from None
    name = _NAME_OF_SCHEMA.get(schema)
    if value is None:
        raise Malformed("no value")
    try:
        data = type_decoders[name].decode(value) if name else _upcast(schema, declared, value)
    except (msgspec.DecodeError, UnicodeDecodeError) as broken:
        raise Malformed(f"the value is no {schema}: {broken}") from None
    return Event(
        event_id,
        declared,
        source,
        subject,
        time_ms,
        data,
        _text(fields.get("ce_account")),
        _text(fields.get("ce_causation")),
        _text(fields.get("ce_correlation")),
        _text(fields.get("ce_traceparent")),
    )


def _text(value: bytes | None) -> str | None:
    return None if value is None else value.decode()


def _upcast(schema: str, declared: str, value: bytes) -> Struct:
    prefix, _, number = schema.rpartition(":")
    name = prefix.removeprefix("urn:greenroom:")
    if name != declared or name not in CURRENT or not number.isdigit():
        raise Unknown(f"unknown type {declared} ({schema})")
    version, struct = CURRENT[name]
    content = msgspec.json.decode(value)
    for n in range(int(number), version):
        if (name, n) not in UPCASTERS:
            raise Unknown(f"no way from {name} version {n} to {n + 1}")
        content = UPCASTERS[name, n](content)
    if int(number) > version:
        raise Unknown(f"{name} version {number} is newer than this software ({version})")
    return msgspec.convert(content, struct)
