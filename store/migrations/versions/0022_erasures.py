"""Data keys of sessions, and erasures; its text is in 0022_erasures.sql."""

from store.migrate import run_beside

revision = "0022"
down_revision = "0021"


def upgrade() -> None:
    run_beside(__file__)
