"""Rate cards are published; its text is in 0017_rates.sql."""

from store.migrate import run_beside

revision = "0017"
down_revision = "0016"


def upgrade() -> None:
    run_beside(__file__)
