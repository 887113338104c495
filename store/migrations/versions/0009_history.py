"""The history of each session; its text is in 0009_history.sql."""

from store.migrate import run_beside

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    run_beside(__file__)
