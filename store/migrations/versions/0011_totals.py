"""What the ledger adds up to; its text is in 0011_totals.sql."""

from store.migrate import run_beside

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    run_beside(__file__)
