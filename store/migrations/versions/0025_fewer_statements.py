"""Admission in fewer statements; its text is in 0025_fewer_statements.sql."""

from store.migrate import run_beside

revision = "0025"
down_revision = "0024"


def upgrade() -> None:
    run_beside(__file__)
