"""The feed of an account; its text is in 0012_feed.sql."""

from pathlib import Path

from alembic import op

revision = "0012"
down_revision = "0011"


def upgrade() -> None:
    # The driver's own connection: SQLAlchemy always passes parameters, and then one call is one statement.
    driver = op.get_bind().connection.driver_connection
    assert driver is not None
    driver.execute(Path(__file__).with_suffix(".sql").read_text())
