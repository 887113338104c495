"""What was sent as meter events; its text is in 0023_meter_events.sql."""

from store.migrate import run_beside

revision = "0023"
down_revision = "0022"


def upgrade() -> None:
    run_beside(__file__)
