"""The dashboard keeps to Grafana's schema, and what it and the alert rules name is told by some process."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models.dashboard import Dashboard

from tests.deploy import queries
from tests.deploy.promtool import VERSION
from tools import metrics_table

pytestmark = pytest.mark.unit

OF_PROMETHEUS = {"le", "job", "instance"}
LABELS = {
    *("code", "consumer", "operation", "outcome", "phase", "reason", "result", "state", "status", "topic", "type"),
    "verdict",
}
"""Each has few values, all of them known to the code: none is an account, session, worker, avatar, key or endpoint."""


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(queries.DASHBOARD.read_text())
    return found


@pytest.fixture(scope="module")
def rows() -> dict[str, metrics_table.Row]:
    """By each name that a query may have."""
    return {series: row for row in metrics_table.rows() for series in row.series}


def test_it_is_read_back_whole_with_grafanas_schema(document: dict[str, Any]) -> None:
    """What the schema does not know would be left out, and a missing field filled in."""
    register_default_plugins()
    read = Dashboard.from_json(document)
    assert json.loads(JSONEncoder(sort_keys=True).encode(read)) == document


def panels(document: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for panel in document["panels"]:
        yield from [panel, *panel.get("panels", ())]


def test_its_panels_have_a_place_of_their_own_and_a_query(document: dict[str, Any]) -> None:
    taken: set[tuple[int, int]] = set()
    for panel in panels(document):
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not cells & taken, panel["title"]
        assert max(x for x, _ in cells) < 24
        taken |= cells
        assert panel["title"]
        if panel["type"] != "row":
            assert {target["datasource"]["uid"] for target in panel["targets"]} == {"prometheus"}
            assert len({target["refId"] for target in panel["targets"]}) == len(panel["targets"])
    assert len({panel["id"] for panel in panels(document)}) == len(list(panels(document)))


def test_grafana_is_told_where_both_are(document: dict[str, Any]) -> None:
    folder = queries.DEPLOY / "grafana" / "provisioning"
    (source,) = yaml.safe_load((folder / "datasources" / "prometheus.yml").read_text())["datasources"]
    assert (source["uid"], source["url"]) == ("prometheus", "http://prometheus:9090")
    (provider,) = yaml.safe_load((folder / "dashboards" / "greenroom.yml").read_text())["providers"]
    compose = yaml.safe_load((queries.DEPLOY.parent / "docker-compose.yml").read_text())["services"]
    assert any(
        volume.endswith(f"{provider['options']['path']}/greenroom.json:ro") for volume in compose["grafana"]["volumes"]
    )
    assert compose["prometheus"]["image"] == f"prom/prometheus:v{VERSION}"


def test_every_metric_that_is_named_is_in_the_table(rows: dict[str, metrics_table.Row]) -> None:
    """Beside it some that Prometheus' client has, and `greenroom_process_info`. tests/stack asks the processes."""
    others = {"greenroom_process_info", "process_cpu_seconds_total", "process_resident_memory_bytes"}
    named = {metric for query in queries.every() for metric in queries.metrics(query)}
    assert named - others <= rows.keys()
    assert len(named) > 40


def test_every_label_that_is_named_is_one_of_its_metric(rows: dict[str, metrics_table.Row]) -> None:
    for query in queries.every():
        known = {label for metric in queries.metrics(query) if metric in rows for label in rows[metric].labels}
        assert queries.grouped_by(query) <= known | OF_PROMETHEUS, query
        for metric, label, _ in queries.matched(query):
            if metric in rows:
                assert label in rows[metric].labels, query


def test_labels_are_few_and_none_is_made_of_what_callers_choose() -> None:
    assert {label for row in metrics_table.rows() for label in row.labels} == LABELS


def test_names_keep_to_the_conventions_of_prometheus() -> None:
    for row in metrics_table.rows():
        assert row.name.startswith(("greenroom_", "lk_"))  # LiveKit's own names, where it has them
        assert row.name.endswith("_total") is (row.kind == "counter")
        assert not any(unit in row.name for unit in ("_ms", "milli", "minutes", "_hours", "kilobytes"))
        assert row.kind != "histogram" or row.name.endswith("_seconds")
        assert row.meaning.endswith(".")
