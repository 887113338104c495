"""Parked subjects can be asked back; its text is in 0019_parked_retry.sql."""

from store.migrate import run_beside

revision = "0019"
down_revision = "0018"


def upgrade() -> None:
    run_beside(__file__)
