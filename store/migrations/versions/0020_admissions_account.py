"""Admissions of an account in the order of its list; its text is in 0020_admissions_account.sql."""

from store.migrate import run_beside

revision = "0020"
down_revision = "0019"


def upgrade() -> None:
    run_beside(__file__)
