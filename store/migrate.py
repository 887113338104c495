"""The schema, brought up to date. Apart, since no other process needs what this imports."""

from __future__ import annotations

from pathlib import Path

from alembic import command, op
from alembic.config import Config
from sqlalchemy import create_engine
from sqlalchemy.pool import NullPool


def run_beside(step: str) -> None:
    """Run the SQL file of the same name as this step of the migrations, which passes its `__file__`."""
    # The driver's own connection: SQLAlchemy always passes parameters, and then one call is one statement.
    driver = op.get_bind().connection.driver_connection
    assert driver is not None
    driver.execute(Path(step).with_suffix(".sql").read_text())


def migrate(url: str) -> None:
    """Bring the schema up to date, each step in its own transaction: what one has locked does not wait for the next.

    Concurrent calls wait for each other on an advisory lock.
    """
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).with_name("migrations")))
    engine = create_engine(url.replace("postgresql://", "postgresql+psycopg://", 1), poolclass=NullPool)
    with engine.connect() as connection:
        connection.exec_driver_sql("SELECT pg_advisory_lock(7237901)")  # until the connection is closed
        connection.commit()
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
