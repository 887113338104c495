"""The avatars that every install has."""

from __future__ import annotations

STOCK = ("av_demo", "av_stock_001")
