"""Endpoints that change, deliveries that are asked for again; its text is in 0014_webhooks.sql."""

from store.migrate import run_beside

revision = "0014"
down_revision = "0013"


def upgrade() -> None:
    run_beside(__file__)
