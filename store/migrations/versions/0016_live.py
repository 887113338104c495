"""Live windows; its text is in 0016_live.sql."""

from store.migrate import run_beside

revision = "0016"
down_revision = "0015"


def upgrade() -> None:
    run_beside(__file__)
