"""The audit of sealed days: each made again from the ledger, and compared with what was stored, signed and published.

It reads only. That the ledger is what the log says is the other half (projections/audit.py).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta

from events import whole
from events.codec import Malformed, Unknown, decode
from events.settings import LogSettings
from events.signing import signed_by
from events.topics import USAGE, partition_of
from schemas.days import BYTES, NO_DAY, Statement, levels, root_of
from schemas.events import DAYS_KEY, UsageDaySealed
from store import days
from store.database import Connection, Pool
from store.days import Place, SealedDay

_MOST_S = 24 * 3600.0
_NAMED = 5


@dataclass(frozen=True)
class DayDifference:
    """`kind`: missing_day, wrong_previous, wrong_hash, bad_signature, wrong_root, wrong_tree, published_otherwise."""

    kind: str
    day: str
    detail: str


async def check(settings: LogSettings, pool: Pool, progress: Callable[[int, int], None]) -> list[DayDifference]:
    """Of all sealed days, in order. Raises events.whole.CannotRead, DatabaseUnreachable."""
    async with pool.connection(within_s=_MOST_S) as connection:
        sealed = await days.every(connection)
        published, keys = await _published(settings), {day.public_key for day in sealed}
        found, before = list[DayDifference](), None
        for n, day in enumerate(sealed, 1):
            found += [*_chained(day, before), *_told(day, published.pop(f"{day.day}", ()), keys)]
            found += [each async for each in _made_again(connection, day, before)]
            before = day
            progress(n, len(sealed))
        async with connection.transaction():
            await days.at_one_moment(connection)
            strange = await days.of_no_day(connection)
    missing = [
        DayDifference("missing_day", day, "it was published, and is not there any more")
        for day, said in published.items()
        if not keys or any(each.public_key in keys for each in said)
    ]
    named = {each.day for each in (*found, *missing)}
    missing += [
        DayDifference("wrong_tree", f"{day}", "something is kept for proofs of a day that nobody has sealed")
        for day in strange
        if f"{day}" not in named
    ]
    return sorted([*found, *missing], key=lambda each: each.day)


async def _published(settings: LogSettings) -> dict[str, list[UsageDaySealed]]:
    """What `usage.v1` has of each day: more than one where it was told more than once.

    Without what its own key has not signed: anybody who writes to Kafka may say such.
    """
    found: dict[str, list[UsageDaySealed]] = {}
    key = DAYS_KEY.encode()
    async with whole.opened(settings, USAGE) as log:
        async for records in log.partition(partition_of(key, USAGE.partitions)):
            for record in records:
                if record.key != key:
                    continue
                try:
                    data = decode(record).data
                except (Malformed, Unknown):
                    continue
                if isinstance(data, UsageDaySealed) and _signed(data):
                    found.setdefault(data.day, []).append(data)
    return found


def _signed(data: UsageDaySealed) -> bool:
    statement = Statement(
        cut=data.cut,
        day=data.day,
        leaves=data.leaves,
        object="usage_day",
        previous=data.previous,
        root=data.root,
    )
    return signed_by(data.public_key, statement.encoded(), data.signature)


def _chained(day: SealedDay, before: SealedDay | None) -> list[DayDifference]:
    """What can be said of its own row, and the one before."""
    name, found = f"{day.day}", list[DayDifference]()
    if before is not None and before.day + timedelta(days=1) != day.day:
        found.append(DayDifference("missing_day", f"{before.day + timedelta(days=1)}", f"the next one is {name}"))
    if day.previous != (before.hash if before is not None else NO_DAY):
        found.append(DayDifference("wrong_previous", name, "it does not go on from the day before"))
    if day.hash != day.statement.hash():
        found.append(DayDifference("wrong_hash", name, "its hash is not that of its own fields"))
    if not signed_by(day.public_key, day.statement.encoded(), day.signature):
        found.append(DayDifference("bad_signature", name, f"its fields are not what {day.key_id} has signed"))
    return found


def _told(day: SealedDay, published: Sequence[UsageDaySealed], keys: set[str]) -> list[DayDifference]:
    name, seal = f"{day.day}", (day.hash, day.signature)
    if day.published and not any(each.public_key in keys for each in published):
        return [DayDifference("published_otherwise", name, "usage.v1 does not have it")]
    if others := {each.root for each in published if (each.hash, each.signature) != seal and each.public_key in keys}:
        return [
            DayDifference("published_otherwise", name, f"usage.v1 has another seal of it: root {', '.join(others)}")
        ]
    return []


async def _made_again(connection: Connection, day: SealedDay, before: SealedDay | None) -> AsyncIterator[DayDifference]:
    since = before.offsets if before is not None else [0] * len(day.offsets)
    waiting = before.left_out if before is not None else []
    digests, made = bytearray(), list[Place]()
    async with connection.transaction():
        await days.at_one_moment(connection)
        async for found in days.leaves(connection, since, day.offsets, waiting, day.left_out):
            digests += b"".join(leaf.digest() for _, leaf in found)
            made += [Place(leaf.session_id, p, n, leaf.entries) for n, (p, leaf) in enumerate(found, len(made))]
        stored, places = await days.tree(connection, day.day), await days.places(connection, day.day)
    tree = levels(bytes(digests))
    if (root_of(tree), len(made)) != (day.root, day.leaves):
        ledger = dict(zip([place.session_id for place in made], _pieces(digests), strict=True))
        sealed = [place.session_id for place in places]
        named = _differing(ledger, sealed, _pieces(stored[0] if stored else b""))
        yield DayDifference("wrong_root", f"{day.day}", f"the ledger's root is {root_of(tree)}; {named}")
    elif stored != tree or places != made:
        yield DayDifference("wrong_tree", f"{day.day}", "what is kept for proofs is not what was sealed")


def _pieces(level: bytes | bytearray) -> list[bytes]:
    return [bytes(level[at : at + BYTES]) for at in range(0, len(level), BYTES)]


def _differing(ledger: dict[str, bytes], sessions: Sequence[str], digests: Sequence[bytes]) -> str:
    sealed = dict(zip(sessions, digests, strict=False))
    ids = sorted(sid for sid in ledger.keys() | sealed.keys() if ledger.get(sid) != sealed.get(sid))
    if not ids:
        return "the sealed leaves are the ledger's, so it is the root that was changed"
    return f"{len(ids)} sessions differ: {', '.join(ids[:_NAMED])}"
