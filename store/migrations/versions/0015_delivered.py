"""Successes are stored many at once; its text is in 0015_delivered.sql."""

from store.migrate import run_beside

revision = "0015"
down_revision = "0014"


def upgrade() -> None:
    run_beside(__file__)
