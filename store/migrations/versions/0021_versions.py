"""Projections are made again beside themselves; its text is in 0021_versions.sql."""

from store.migrate import run_beside

revision = "0021"
down_revision = "0023"


def upgrade() -> None:
    run_beside(__file__)
