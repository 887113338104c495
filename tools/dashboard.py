"""deploy/grafana/greenroom.json: the dashboard, written with Grafana's own builders, so that it keeps to its schema."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

from grafana_foundation_sdk.builders import common, heatmap, prometheus, stat, timeseries
from grafana_foundation_sdk.builders import dashboard as build
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import common as kinds
from grafana_foundation_sdk.models import dashboard
from grafana_foundation_sdk.models.heatmap import HeatmapColorMode
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

SOURCE = dashboard.DataSourceRef(type_val="prometheus", uid="prometheus")
"""As deploy/grafana/provisioning names it."""
_WIDTH, _HEIGHT = 8, 8
_OURS = "and on (job, instance) greenroom_process_info"

Query = tuple[str, str]
"""(PromQL, legend)"""
Drawn = stat.Panel | timeseries.Panel | heatmap.Panel


def document() -> str:
    """Its JSON, as it is committed."""
    made = (
        build.Dashboard("Greenroom")
        .uid("greenroom")
        .description("Sessions, first frames, the log, webhooks, workers, API. Each metric: docs/reference/metrics.md.")
        .tags(["greenroom"])
        .time("now-1h", "now")
        .refresh("30s")
        .timezone("browser")
        .tooltip(dashboard.DashboardCursorSync.CROSSHAIR)
        .readonly()
    )
    number = itertools.count(1)
    for title, panels in rows():
        made = made.with_row(build.Row(title).id(next(number)))
        for panel in panels:
            made = made.with_panel(panel.id(next(number)))
    return JSONEncoder(sort_keys=True, indent=1).encode(made.build()) + "\n"


def rows() -> Iterator[tuple[str, Sequence[Drawn]]]:
    yield "Now", _now()
    yield "Sessions", _sessions()
    yield "First frame", _first_frame()
    yield "API", _api()
    yield "The log, and what is derived from it", _log()
    yield "Webhooks", _webhooks()
    yield "Workers", _workers()
    yield "Processes", _processes()


def _now() -> Sequence[Drawn]:
    return (
        _stat("Sessions", "sum(greenroom_sessions)", "short"),
        _stat("Free slots", "max(greenroom_slots) - max(greenroom_slots_used)", "short", (0, "red"), (1, "green")),
        _stat(
            "First frame, p95 of 5 min",
            _quantile(0.95, "greenroom_first_frame_seconds", 'phase="first_frame"'),
            "s",
            (0, "green"),
            (1, "orange"),
            (2, "red"),
        ),
        _stat(
            "Furthest behind the log",
            "max(greenroom_projection_lag_seconds)",
            "s",
            (0, "green"),
            (5, "orange"),
            (30, "red"),
        ),
        _stat(
            "Oldest webhook due",
            "max(greenroom_webhook_oldest_due_seconds)",
            "s",
            (0, "green"),
            (60, "orange"),
            (300, "red"),
        ),
        _stat("Alerts", 'count(ALERTS{alertstate="firing"}) or vector(0)', "short", (0, "green"), (1, "red")),
    )


def _sessions() -> Sequence[Drawn]:
    return (
        _lines("Sessions by status", "short", ("sum by (status) (greenroom_sessions)", "{{status}}"), stacked=True),
        _lines("Creates a second", "reqps", (_rate("greenroom_creates_total", "outcome"), "{{outcome}}")),
        _lines(
            "Attempts that are over, a minute",
            "short",
            ("60 * " + _rate("greenroom_worker_attempts_total", "result, reason") + " > 0", "{{result}}: {{reason}}"),
        ),
        _lines(
            "Decisions of the roster, a minute",
            "short",
            ("60 * " + _rate("greenroom_roster_decisions_total", "type, reason"), "{{type}}: {{reason}}"),
        ),
        _lines("Creates that wait for a slot", "short", ("sum(greenroom_creates_waiting)", "waiting")),
        _lines(
            "Slots",
            "short",
            ("max(greenroom_slots)", "given out"),
            ("max(greenroom_slots_used)", "held"),
        ),
    )


def _first_frame() -> Sequence[Drawn]:
    seconds = "greenroom_first_frame_seconds"
    first = 'phase="first_frame"'
    return (
        _heat("From POST to first frame", f"sum by (le) (increase({seconds}_bucket{{{first}}}[$__rate_interval]))"),
        _lines(
            "From POST to first frame",
            "s",
            *((_quantile(q, seconds, first), f"p{q * 100:.0f}") for q in (0.5, 0.95, 0.99)),
        ),
        _lines("Median of each point on the way", "s", (_quantile(0.5, seconds, "", "phase"), "{{phase}}")),
    )


def _api() -> Sequence[Drawn]:
    seconds = "greenroom_request_seconds"
    return (
        _lines("Requests a second, by status", "reqps", (_rate(f"{seconds}_count", "status"), "{{status}}")),
        _lines("p95 by operation", "s", (_quantile(0.95, seconds, "", "operation"), "{{operation}}")),
        _lines("Requests a second, by operation", "reqps", (_rate(f"{seconds}_count", "operation"), "{{operation}}")),
        _lines("Errors a second, by code", "reqps", (_rate("greenroom_errors_total", "code"), "{{code}}")),
        _lines("Streams and long polls that are open", "short", ("sum(greenroom_streams)", "open")),
        _lines(
            "p50 and p95 of creates",
            "s",
            *((_quantile(q, seconds, 'operation="create_session"'), f"p{q * 100:.0f}") for q in (0.5, 0.95)),
        ),
    )


def _log() -> Sequence[Drawn]:
    consumer = "{{consumer}}"
    return (
        _lines("Behind the log, seconds", "s", ("max by (consumer) (greenroom_projection_lag_seconds)", consumer)),
        _lines("Behind the log, events", "short", ("sum by (consumer) (greenroom_projection_lag_events)", consumer)),
        _lines("Events a second", "ops", (_rate("greenroom_projection_events_total", "consumer"), consumer)),
        _lines(
            "A batch, p95",
            "s",
            (_quantile(0.95, "greenroom_projection_batch_seconds", "", "consumer"), consumer),
        ),
        _lines("An append, p95", "s", (_quantile(0.95, "greenroom_append_seconds", "", "topic"), "{{topic}}")),
        _lines("What must not be", "short", *_wrong()),
    )


def _wrong() -> Iterator[Query]:
    for metric, by, what in (
        ("greenroom_malformed_records_total", "consumer", "malformed"),
        ("greenroom_append_timeouts_total", "topic", "not acknowledged"),
        ("greenroom_projection_batches_dropped_total", "consumer", "batches dropped"),
    ):
        yield f"sum by ({by}) (increase({metric}[$__rate_interval])) > 0", f"{what}: {{{{{by}}}}}"
    yield "max by (consumer) (greenroom_parked_subjects) > 0", "parked: {{consumer}}"
    yield "sum(increase(greenroom_dead_letters_given_up_total[$__rate_interval])) > 0", "dead letters given up"


def _webhooks() -> Sequence[Drawn]:
    lag = "greenroom_webhook_lag_seconds"
    return (
        _lines("Attempts a second", "ops", (_rate("greenroom_webhook_attempts_total", "outcome"), "{{outcome}}")),
        _lines(
            "From event to receiver",
            "s",
            *((_quantile(q, lag), f"p{q * 100:.0f}") for q in (0.5, 0.95)),
        ),
        _lines(
            "Pending",
            "short",
            ("max(greenroom_webhook_pending)", "pending"),
            ("sum(greenroom_webhook_in_flight)", "claimed"),
        ),
        _lines("Oldest due", "s", ("max(greenroom_webhook_oldest_due_seconds)", "oldest due")),
        _lines("An attempt, p95", "s", (_quantile(0.95, "greenroom_webhook_attempt_seconds"), "p95")),
        _lines(
            "Given up for something of ours, an hour",
            "short",
            ("sum(increase(greenroom_webhook_given_up_total[1h]))", "given up"),
        ),
    )


def _workers() -> Sequence[Drawn]:
    frames = f"clamp_min({_rate('greenroom_worker_frames_total')}, 1)"
    return (
        _lines("Workers", "short", ("max by (phase) (greenroom_workers)", "{{phase}}")),
        _lines("Sessions of each", "short", ("greenroom_worker_sessions", "{{instance}}"), stacked=True),
        _lines("Age of the lease", "s", ("greenroom_worker_lease_age_seconds", "{{instance}}")),
        _lines(
            "Frames late and dropped",
            "percentunit",
            (f"{_rate('greenroom_worker_late_frames_total')} / {frames}", "late"),
            (f"{_rate('greenroom_worker_dropped_frames_total')} / {frames}", "dropped"),
        ),
        _lines(
            "Session processes that are warm",
            "short",
            ("greenroom_worker_warm_processes", "{{instance}}"),
        ),
        _lines(
            "Renderer",
            "short",
            ("greenroom_worker_renderer_up", "up: {{instance}}"),
            ("increase(greenroom_worker_renderer_ends_total[$__rate_interval])", "ended: {{instance}}"),
        ),
        *(
            _lines(
                title,
                "s",
                *((_quantile(q, f"greenroom_worker_{metric}_seconds"), f"p{q * 100:.0f}") for q in (0.5, 0.95)),
            )
            for title, metric in (
                ("From an utterance to its mouth", "audio_to_mouth"),
                ("From an interruption to silence", "clear_to_silence"),
            )
        ),
        _lines(
            "Speech that stalled, an hour",
            "short",
            ("sum(increase(greenroom_worker_audio_stalls_total[1h]))", "stalls"),
        ),
    )


def _processes() -> Sequence[Drawn]:
    each = "{{job}} {{instance}}"
    return (
        _lines("Cores", "short", (f"rate(process_cpu_seconds_total[$__rate_interval]) {_OURS}", each)),
        _lines("Memory", "bytes", (f"process_resident_memory_bytes {_OURS}", each)),
        _lines("Connections to the database", "short", ('greenroom_database_connections{state="used"}', each)),
        _lines("Work that waits for a connection", "short", ("greenroom_database_waiting", each)),
        _lines("Avatars that wait for a face", "short", ("sum(greenroom_avatars_waiting)", "waiting")),
        _lines(
            "Avatars built, an hour",
            "short",
            ("sum by (verdict) (increase(greenroom_avatars_built_total[1h]))", "{{verdict}}"),
        ),
    )


# PromQL


def _rate(metric: str, by: str = "") -> str:
    return f"sum{f' by ({by}) ' if by else ''}(rate({metric}[$__rate_interval]))"


def _quantile(q: float, metric: str, only: str = "", by: str = "") -> str:
    labels = f"le, {by}" if by else "le"
    return f"histogram_quantile({q}, sum by ({labels}) (rate({metric}_bucket{{{only}}}[$__rate_interval])))"


# Panels


def _query(expression: str, legend: str, ref: str) -> prometheus.Dataquery:
    return prometheus.Dataquery().expr(expression).legend_format(legend).ref_id(ref).datasource(SOURCE)


def _lines(title: str, unit: str, *queries: Query, stacked: bool = False) -> timeseries.Panel:
    panel = timeseries.Panel().title(title).datasource(SOURCE).unit(unit).min(0).span(_WIDTH).height(_HEIGHT)
    panel = panel.line_width(1).fill_opacity(20 if stacked else 5).show_points(kinds.VisibilityMode.NEVER)
    panel = panel.tooltip(common.VizTooltipOptions().mode(kinds.TooltipDisplayMode.MULTI))
    panel = panel.legend(
        common.VizLegendOptions()
        .display_mode(kinds.LegendDisplayMode.LIST)
        .placement(kinds.LegendPlacement.BOTTOM)
        .show_legend(True)
    )
    if stacked:
        panel = panel.stacking(common.StackingConfig().mode(kinds.StackingMode.NORMAL))
    for number, (expression, legend) in enumerate(queries):
        panel = panel.with_target(_query(expression, legend, chr(ord("A") + number)))
    return panel


def _stat(title: str, expression: str, unit: str, *steps: tuple[float, str]) -> stat.Panel:
    """`steps`: from which value on it has which colour."""
    found = [dashboard.Threshold(value=value if n else None, color=color) for n, (value, color) in enumerate(steps)]
    panel = stat.Panel().title(title).datasource(SOURCE).unit(unit).span(4).height(4)
    panel = panel.graph_mode(kinds.BigValueGraphMode.AREA).with_target(_query(expression, "", "A"))
    if found:
        panel = panel.thresholds(build.ThresholdsConfig().mode(dashboard.ThresholdsMode.ABSOLUTE).steps(found))
    return panel


def _heat(title: str, expression: str) -> heatmap.Panel:
    target = _query(expression, "{{le}}", "A").format(PromQueryFormat.HEATMAP)
    colours = heatmap.HeatmapColorOptions().mode(HeatmapColorMode.SCHEME).scheme("Spectral").steps(64)
    panel = heatmap.Panel().title(title).datasource(SOURCE).span(_WIDTH).height(_HEIGHT)
    return panel.calculate(False).color(colours).y_axis(heatmap.YAxisConfig().unit("s")).with_target(target)
