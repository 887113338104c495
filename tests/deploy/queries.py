"""The queries of the dashboard and of the alert rules, and what they name."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

DEPLOY = Path(__file__).parents[2] / "deploy"
RULES = DEPLOY / "prometheus" / "alerts.yml"
DASHBOARD = DEPLOY / "grafana" / "greenroom.json"

BUILT_IN = {"ALERTS", "up"}
"""Series that Prometheus makes itself."""
_METRIC = re.compile(r"\b(?:greenroom|process)_[a-z_]+|\b(?:ALERTS|up)\b")
_BY = re.compile(r"\b(?:by|on) \(([a-z_, ]+)\)")
_MATCHER = re.compile(r"([a-z_]+)\{([^}]*)\}")
_LABEL = re.compile(r"([a-z_]+)(=~|=)\"([^\"]*)\"")


def alerts() -> list[dict[str, Any]]:
    return [rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]


def of_dashboard() -> Iterator[str]:
    """With the variables that Grafana fills in."""
    todo: list[Any] = [json.loads(DASHBOARD.read_text())]
    while todo:
        found = todo.pop()
        if isinstance(found, dict):
            if isinstance(found.get("expr"), str):
                yield found["expr"].replace("$__rate_interval", "1m")
            todo += found.values()
        elif isinstance(found, list):
            todo += found


def every() -> list[str]:
    return [*of_dashboard(), *(rule["expr"] for rule in alerts())]


def metrics(query: str) -> set[str]:
    return set(_METRIC.findall(query)) - BUILT_IN


def grouped_by(query: str) -> set[str]:
    return {label.strip() for labels in _BY.findall(query) for label in labels.split(",")}


def matched(query: str) -> Iterator[tuple[str, str, str]]:
    """(metric, label, value or pattern) of each selector."""
    for metric, matchers in _MATCHER.findall(query):
        for label, _, value in _LABEL.findall(matchers):
            yield metric, label, value
