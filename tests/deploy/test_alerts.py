"""The alert rules: sound by promtool, tried on series, and each leads to a section that says what to do."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from tests.deploy import promtool, queries
from tests.docs.test_pages import ROOT, anchors

processes, unit = pytest.mark.processes, pytest.mark.unit
TESTS = Path(__file__).with_name("alerts.test.yml")


@processes
@pytest.mark.timeout(1300)  # promtool is built, the first time
def test_promtool_finds_nothing_wrong() -> None:
    for what in (
        ("check", "rules", "--lint=all", "--lint-fatal", queries.RULES),
        ("check", "config", "--lint-fatal", queries.DEPLOY / "prometheus" / "prometheus.yml"),
    ):
        code, said = promtool.run(*what)
        assert code == 0, said


@processes
@pytest.mark.timeout(1300)
def test_alerts_fire_when_they_should_and_not_else() -> None:
    code, said = promtool.run("test", "rules", TESTS)
    assert code == 0, said


@processes
@pytest.mark.timeout(1300)
def test_every_query_of_the_dashboard_is_promql(tmp_path: Path) -> None:
    rules = [{"record": f"query_{n}", "expr": query} for n, query in enumerate(queries.of_dashboard())]
    assert len(rules) > 40
    written = tmp_path / "queries.yml"
    written.write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": rules}]}))
    code, said = promtool.run("check", "rules", written)
    assert code == 0, said


@unit
@pytest.mark.parametrize("rule", queries.alerts(), ids=lambda rule: str(rule["alert"]))
def test_an_alert_says_what_is_wrong_and_what_to_do(rule: dict[str, dict[str, str]]) -> None:
    told = rule["annotations"]
    assert rule["labels"]["severity"] in ("critical", "warning")
    assert told.keys() == {"summary", "action", "runbook"}
    page, _, anchor = told["runbook"].partition("#")
    assert anchor == str(rule["alert"]).lower()
    assert anchor in anchors(ROOT / page)


@unit
def test_every_alert_is_tried_both_ways() -> None:
    """All of them fire in the first system, none in the second, which tells the same series."""
    worst, busy, *_ = yaml.safe_load(TESTS.read_text())["tests"]
    fired = {sample["labels"] for sample in worst["promql_expr_test"][-1]["exp_samples"]}
    assert fired == {f'{{alertname="{rule["alert"]}"}}' for rule in queries.alerts()}
    assert [look["exp_samples"] for look in busy["promql_expr_test"]] == [None] * 4
    assert [each["series"] for each in worst["input_series"]] == [each["series"] for each in busy["input_series"]]


@unit
def test_the_runbook_has_no_alert_that_is_gone() -> None:
    page = (ROOT / "docs" / "reference" / "operations.md").read_text()
    told = set(re.findall(r"^### (Greenroom\w+)$", page, re.MULTILINE))
    assert told == {rule["alert"] for rule in queries.alerts()}
