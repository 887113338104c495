"""Limits of plans and keys; its text is in 0010_limits.sql."""

from store.migrate import run_beside

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    run_beside(__file__)
