"""`greenroom prove` and `greenroom days`: bills that anybody verifies, and the keys to do so."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from cli.console import err, fail, out, with_database

if TYPE_CHECKING:
    from collections.abc import Sequence

    from schemas.proofs import Seal
    from schemas.usage import UsageFacts
    from store.database import Connection


def prove(
    session: Annotated[str, typer.Argument(help="Its id.")],
    to: Annotated[Path | None, typer.Option("--out", help="The file. Default: SESSION.proof.json.")] = None,
) -> None:
    """Write a session's entries, its sealed days and their signatures as one file.

    examples/verify_proof.py verifies it with neither Kafka nor PostgreSQL, and nothing of ours.
    """
    from schemas.proofs import prove as proof_of

    entries, seals = with_database(lambda connection: _look(connection, session))
    if not entries:
        raise fail(f"There is nothing billed of a session {session}.")
    if not seals:
        raise fail(
            f"{session} is in no sealed day: a day is sealed after midnight UTC, with the sessions that have ended."
        )
    if len(entries) < seals[-1].entries:
        raise fail(
            "The ledger has fewer entries than were sealed: it is being made again, or `greenroom audit` says why."
        )
    proof, path = proof_of(session, entries, seals), to or Path(f"{session}.proof.json")
    if later := len(entries) - len(proof.entries):
        err.print(f"Its last {later} entries are not sealed yet: they are left out until after midnight UTC.")
    try:
        path.write_bytes(proof.encoded())
    except OSError as failed:
        raise fail(f"{path} could not be written: {failed.strerror}") from None
    keys = " ".join(dict.fromkeys(seal.public_key for seal in seals))
    out.print(f"{path}\npython3 examples/verify_proof.py {path} {keys}", markup=False, highlight=False, soft_wrap=True)


async def _look(connection: Connection, session: str) -> tuple[Sequence[UsageFacts], Sequence[Seal]]:
    from projections.summaries import chain_of
    from store import days

    seals = await days.seals(connection, session)  # before: what it seals is in the ledger
    return await chain_of(connection, session), seals


def days() -> None:
    """The sealed days: roots, and the public keys that they are signed with."""
    from store import days as sealed_days

    table = Table("day", "sessions", "left out", "root", "hash", "key")
    for day in with_database(sealed_days.every):
        numbers = (str(day.leaves), str(len(day.left_out)))
        table.add_row(f"{day.day}", *numbers, day.root, day.hash, f"{day.key_id} {day.public_key}")
    out.print(table)
