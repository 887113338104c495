"""Days are sealed; its text is in 0018_days.sql."""

from store.migrate import run_beside

revision = "0018"
down_revision = "0017"


def upgrade() -> None:
    run_beside(__file__)
