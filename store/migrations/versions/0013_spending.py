"""What may be spent; its text is in 0013_spending.sql."""

from pathlib import Path

from alembic import op

revision = "0013"
down_revision = "0012"


def upgrade() -> None:
    # The driver's own connection: SQLAlchemy always passes parameters, and then one call is one statement.
    driver = op.get_bind().connection.driver_connection
    assert driver is not None
    driver.execute(Path(__file__).with_suffix(".sql").read_text())
