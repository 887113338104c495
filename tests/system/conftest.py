"""Fixtures of whole sessions. `stage` plays on the module's own `running` system."""

from tests.system.stage import stage

__all__ = ["stage"]
