"""The feed of an account; its text is in 0012_feed.sql."""

from store.migrate import run_beside

revision = "0012"
down_revision = "0011"


def upgrade() -> None:
    run_beside(__file__)
