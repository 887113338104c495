"""JSON as Python has it."""

from __future__ import annotations

from typing import Any

JsonObject = dict[str, Any]
"""An object whose members are not known here: of a foreign body, or on its way out. What is known has a model."""
