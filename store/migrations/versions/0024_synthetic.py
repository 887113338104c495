"""Labels of accounts, shapes of avatars; its text is in 0024_synthetic.sql."""

from store.migrate import run_beside

revision = "0024"
down_revision = "0023"


def upgrade() -> None:
    run_beside(__file__)
