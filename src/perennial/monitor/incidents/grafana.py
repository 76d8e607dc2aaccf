"""A dashboard for Grafana 10 and newer, over the metrics of the prediction service and those of the monitors.

Which Prometheus it asks is a variable, chosen when it is looked at; so is the endpoint. It holds the queries only, no
addresses.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

__all__ = ["dashboard"]

SCHEMA: Final = 38  # of Grafana 10.0; newer ones read it and bring it up to theirs
SOURCE: Final = {"type": "prometheus", "uid": "${source}"}
OF: Final = '{endpoint=~"$endpoint"}'
WIDTH, HEIGHT = 24, 8

Panel = dict[str, Any]


def dashboard() -> dict[str, Any]:
    """The whole file as JSON values."""
    rows: list[tuple[str, list[Panel]]] = [
        ("Is anything wrong?", _alarms()),
        ("What changed", _changes()),
        ("How good it is", _performance()),
        ("The prediction service", _service()),
    ]
    panels: list[Panel] = []
    top = 0
    for title, members in rows:
        panels.append(
            {"type": "row", "title": title, "collapsed": False, "panels": [], "gridPos": _at(0, top, WIDTH, 1)}
        )
        top += 1
        left = 0
        for panel in members:
            width = panel.pop("width")
            if left + width > WIDTH:
                left, top = 0, top + HEIGHT
            panels.append(panel | {"gridPos": _at(left, top, width, HEIGHT)})
            left += width
        top += HEIGHT
    return {
        "uid": "perennial",
        "title": "Perennial: models in production",
        "tags": ["perennial", "machine learning"],
        "schemaVersion": SCHEMA,
        "version": 1,
        "editable": True,
        "graphTooltip": 1,
        "timezone": "browser",
        "refresh": "30s",
        "time": {"from": "now-7d", "to": "now"},
        "annotations": {"list": []},
        "links": [],
        "templating": {"list": _variables()},
        "panels": [panel | {"id": number} for number, panel in enumerate(panels, 1)],
    }


def _alarms() -> list[Panel]:
    of_severity = 'sum(perennial_incidents_open{{endpoint=~"$endpoint",severity="{}"}})'
    findings = 'perennial_findings_total{endpoint=~"$endpoint",severity!="info"}'
    promised = f"sum(perennial_false_alarms_promised{OF})"
    return [
        _stat("Incidents, warn", of_severity.format("warn"), bad="orange"),
        _stat("Incidents, critical", of_severity.format("critical"), bad="red"),
        _stat("False alarms, and how many were promised", f"sum(perennial_false_alarms{OF})", also=promised),
        _stat("Notices given up", 'sum(perennial_notices{state="given_up"})', bad="red"),
        _stat("In maintenance", f"sum(perennial_maintenance_active{OF})", bad="blue"),
        _lines("Open incidents", *_by("sum", f"perennial_incidents_open{OF} > 0", "endpoint", "group", "severity")),
        _lines("Findings of a day", *_by("sum", f"increase({findings}[1d])", "endpoint", "kind", "severity")),
    ]


def _changes() -> list[Panel]:
    share = f"perennial_detector_evidence{OF} / perennial_detector_threshold{OF}"
    columns = f"perennial_column_psi{OF}"
    predictions = f"perennial_prediction_psi{OF}"
    alarm = "Evidence of the detectors, as a share of what they alarm at"
    return [
        _lines("Inputs: PSI by column", *_by("max", columns, "endpoint", "version", "column")),
        _lines("Predictions: PSI", *_by("max", predictions, "endpoint", "version")),
        _lines(alarm, *_by("max", share, "endpoint", "version", "detector"), width=24, unit="percentunit", alarm=1.0),
    ]


def _performance() -> list[Panel]:
    names = ("endpoint", "version", "metric")
    real, guessed, tested = (f"perennial_{of}_performance{OF}" for of in ("realised", "estimated", "reference"))
    return [
        _lines("Realised, where the truth is known", *_by("max", real, *names), width=8),
        _lines("Estimated, without the truth", *_by("max", guessed, *names, "method"), width=8),
        _lines("When the version was judged", *_by("max", tested, *names), width=8),
    ]


def _service() -> list[Panel]:
    latency = _lines("Time of a request", "", "", unit="s")
    buckets = f"sum by (le, endpoint) (rate(perennial_request_seconds_bucket{OF}[$__rate_interval]))"
    latency["targets"] = [
        _query(f"histogram_quantile({share:g}, {buckets})", f"{{{{endpoint}}}} p{100 * share:g}", letter)
        for share, letter in ((0.5, "A"), (0.95, "B"), (0.99, "C"))
    ]
    return [
        _stat("Not ready", "1 - min(perennial_ready)", bad="red"),
        _stat("Breakers open", "sum(perennial_breakers_open)", bad="red"),
        _stat("Rows that were not written down", "sum(perennial_predictions_dropped_total)", bad="orange"),
        _stat("Shadow answers owed", "sum(perennial_shadow_pending)"),
        _stat("Connections", "sum(perennial_connections)"),
        _lines("Requests", *_rate("requests_total", "endpoint", "code"), unit="reqps"),
        latency,
        _lines("Rows", *_rate("rows_total", "endpoint", "version", "arm"), unit="reqps"),
        _lines("Rows without an answer", *_rate("row_errors_total", "endpoint", "version", "arm"), unit="reqps"),
        _lines("Refused", *_rate("refused_total", "endpoint", "reason"), width=8, unit="reqps"),
        _lines("Guards that fired", *_rate("guards_total", "endpoint", "guard", "action"), width=8, unit="reqps"),
        _lines("Answered by a fallback", *_rate("fallbacks_total", "endpoint", "arm"), width=8, unit="reqps"),
    ]


def _by(how: str, query: str, *names: str) -> tuple[str, str]:
    """A query with one line for each value of these labels, and how the line is called."""
    return f"{how} by ({', '.join(names)}) ({query})", " ".join(f"{{{{{name}}}}}" for name in names)


def _rate(counter: str, *names: str) -> tuple[str, str]:
    return _by("sum", f"rate(perennial_{counter}{OF}[$__rate_interval])", *names)


def _stat(title: str, query: str, *, bad: str = "", also: str = "") -> Panel:
    """One number; `bad` is its colour from 1 on, `also` a second number beside it."""
    steps = [(None, "green"), *([(1.0, bad)] if bad else [])]
    return {
        "type": "stat",
        "title": title,
        "width": 4,
        "datasource": SOURCE,
        "targets": [_query(query, "now", "A"), *([_query(also, "promised", "B")] if also else [])],
        "fieldConfig": {"defaults": {"thresholds": _thresholds(steps), "unit": "none"}, "overrides": []},
        "options": {
            "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
            "colorMode": "background" if bad else "none",
            "graphMode": "none",
            "textMode": "value_and_name" if also else "value",
        },
    }


def _lines(
    title: str, query: str, legend: str, *, width: int = 12, unit: str = "none", alarm: float | None = None
) -> Panel:
    """Lines over time; at `alarm` a red one is drawn."""
    steps = [(None, "green"), *([(alarm, "red")] if alarm is not None else [])]
    custom = {
        "drawStyle": "line",
        "lineWidth": 1,
        "spanNulls": True,
        "thresholdsStyle": {"mode": "line" if alarm is not None else "off"},
    }
    return {
        "type": "timeseries",
        "title": title,
        "width": width,
        "datasource": SOURCE,
        "targets": [_query(query, legend, "A")],
        "fieldConfig": {
            "defaults": {"unit": unit, "custom": custom, "thresholds": _thresholds(steps)},
            "overrides": [],
        },
        "options": {
            "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True},
            "tooltip": {"mode": "multi", "sort": "desc"},
        },
    }


def _query(query: str, legend: str, letter: str) -> dict[str, Any]:
    return {"refId": letter, "datasource": SOURCE, "expr": query, "legendFormat": legend, "range": True}


def _thresholds(limits: Sequence[tuple[float | None, str]]) -> dict[str, Any]:
    return {"mode": "absolute", "steps": [{"value": value, "color": color} for value, color in limits]}


def _variables() -> list[dict[str, Any]]:
    # Whatever was found about, or has answered.
    query = 'label_values({__name__=~"perennial_findings_total|perennial_rows_total"}, endpoint)'
    every = {"selected": True, "text": ["All"], "value": ["$__all"]}
    return [
        {
            "name": "source",
            "label": "Prometheus",
            "type": "datasource",
            "query": "prometheus",
            "current": {},
            "hide": 0,
            "includeAll": False,
            "multi": False,
            "options": [],
            "refresh": 1,
            "regex": "",
        },
        {
            "name": "endpoint",
            "label": "Endpoint",
            "type": "query",
            "datasource": SOURCE,
            "definition": query,
            "query": {"query": query, "refId": "endpoints"},
            "current": every,
            "hide": 0,
            "includeAll": True,
            "multi": True,
            "allValue": ".*",
            "options": [],
            "refresh": 2,
            "regex": "",
            "sort": 1,
        },
    ]


def _at(left: int, top: int, width: int, height: int) -> dict[str, int]:
    return {"x": left, "y": top, "w": width, "h": height}
