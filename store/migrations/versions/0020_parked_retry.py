"""Parked subjects can be asked back; its text is in 0020_parked_retry.sql."""

from store.migrate import run_beside

revision = "0020"
down_revision = "0016"


def upgrade() -> None:
    run_beside(__file__)
