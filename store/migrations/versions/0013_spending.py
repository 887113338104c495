"""What may be spent; its text is in 0013_spending.sql."""

from store.migrate import run_beside

revision = "0013"
down_revision = "0012"


def upgrade() -> None:
    run_beside(__file__)
