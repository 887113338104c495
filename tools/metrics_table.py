"""The table of docs/reference/metrics.md: every metric of `/metrics`, of the registries that processes serve."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from prometheus_client import CollectorRegistry
from prometheus_client.metrics import MetricWrapperBase

from api import metrics as api_metrics
from projections import names
from reactors import live
from reactors.processes import DELIVER_TOLD, project_told
from workers import build_metrics
from workers import metrics as workers_metrics

TOLD: Mapping[str, Sequence[CollectorRegistry]] = {
    "api": api_metrics.TOLD,
    "project": project_told(names.ALL),
    "deliver": DELIVER_TOLD,
    "live": live.TOLD,
    "worker": workers_metrics.TOLD,
    "build": build_metrics.TOLD,
}
"""Kind of process → what it serves beside what Python says of any process."""


@dataclass(frozen=True)
class Row:
    name: str
    """As it is queried; a histogram has `_bucket`, `_sum` and `_count` behind it."""
    kind: str
    labels: tuple[str, ...]
    meaning: str

    @property
    def series(self) -> list[str]:
        """The names that a query may have."""
        ends = ("_bucket", "_sum", "_count") if self.kind == "histogram" else ("",)
        return [self.name + end for end in ends]


def rows() -> dict[Row, list[str]]:
    """Each metric, and the kinds of processes that tell it."""
    found: dict[Row, list[str]] = {}
    for kind, registries in TOLD.items():
        for row in (row for registry in registries for row in _of(registry)):
            found.setdefault(row, []).append(kind)
    return found


def _of(registry: CollectorRegistry) -> Iterator[Row]:
    for collector in registry._collector_to_names:
        assert isinstance(collector, MetricWrapperBase)
        (family,) = collector.describe()
        name = family.name + ("_total" if family.type == "counter" else "")
        yield Row(name, family.type, tuple(collector._labelnames), family.documentation)


def table() -> str:
    """Markdown, by process and name."""
    lines = ["| metric | type | labels | process | meaning |", "| --- | --- | --- | --- | --- |"]
    order = list(TOLD)
    for row, kinds in sorted(rows().items(), key=lambda each: (order.index(each[1][0]), each[0].name)):
        labels = ", ".join(f"`{label}`" for label in row.labels)
        meaning = row.meaning.replace("|", "\\|")
        lines.append(f"| `{row.name}` | {row.kind} | {labels} | {', '.join(kinds)} | {meaning} |")
    return "\n".join(lines)
