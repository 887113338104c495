"""What `/metrics` of any process says of its way to and from the log."""

from __future__ import annotations

from functools import cache

from prometheus_client import CollectorRegistry, Counter, Histogram

from events.topics import ALL

REGISTRY = CollectorRegistry()

MALFORMED = Counter(
    "greenroom_malformed_records",
    "Records of the log that can never be read: somebody else writes to it.",
    ["consumer"],
    registry=REGISTRY,
)
NOT_COPIED = Counter(
    "greenroom_dead_letters_given_up",
    "Malformed records that could not be copied to `dead_letters.v1`. They stay where they are.",
    registry=REGISTRY,
)
APPEND_SECONDS = Histogram(
    "greenroom_append_seconds",
    "From an append to its acknowledgement by Kafka, of those that were acknowledged in time.",
    ["topic"],
    buckets=(0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 4.0),
    registry=REGISTRY,
)
APPEND_TIMEOUTS = Counter(
    "greenroom_append_timeouts",
    "Appends that were not acknowledged in time. Their outcome is unknown; they are sent again, or ended.",
    ["topic"],
    registry=REGISTRY,
)


@cache
def append_seconds(topic: str) -> Histogram:
    """Of one topic: finding it by its label takes longer than the measuring."""
    return APPEND_SECONDS.labels(topic)


for _topic in ALL:
    APPEND_TIMEOUTS.labels(_topic.name)  # 0 from the start: the first one is an increase
