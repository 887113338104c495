"""Claims that no statistics mislead; its text is in 0008_claims.sql."""

from store.migrate import run_beside

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    run_beside(__file__)
