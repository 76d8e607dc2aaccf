"""What the monitors know, in Prometheus' text format.

The number of series is bounded whatever is watched: numbers are told of the version of an endpoint that something
was found about last, of the PSI of a window only the MAX_COLUMNS largest, of MAX_ENDPOINTS endpoints by name. How
many columns were left out is a series itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

import msgspec
import sqlalchemy as sa

from perennial.monitor.incidents.incident import GROUPS
from perennial.monitor.incidents.incidents import Feedback
from perennial.monitor.incidents.maintenance import MaintenanceWindow, covering
from perennial.monitor.records import detectors, findings, incidents, notices

__all__ = ["FAMILIES", "MAX_COLUMNS", "MAX_ENDPOINTS", "Known", "exposition", "known"]

MAX_COLUMNS: Final = 50
MAX_ENDPOINTS: Final = 200

FAMILIES: Final[Mapping[str, tuple[str, str]]] = {  # name -> type, what it is
    "findings_total": ("counter", "Findings of the monitors."),
    "incidents_total": ("counter", "Incidents that were opened."),
    "incidents_open": ("gauge", "Incidents that are not closed."),
    "false_alarms": ("gauge", "Incidents of the span of the budget that a person called a false alarm."),
    "false_alarms_promised": ("gauge", "False alarms that the monitors may raise in that span."),
    "maintenance_active": ("gauge", "Whether the endpoint is in a maintenance window."),
    "notices": ("gauge", "Notices that wait or were given up, of incidents that are not closed."),
    "detector_evidence": ("gauge", "Evidence of a detector when it was told last."),
    "detector_threshold": ("gauge", "Evidence at which the detector alarms."),
    "column_psi": ("gauge", "Population stability index of a column in its last window."),
    "columns_left_out": ("gauge", "Columns whose PSI is smaller and not told."),
    "prediction_psi": ("gauge", "Population stability index of the predictions in their last window."),
    "realised_performance": ("gauge", "Performance on rows whose truth is known, in the last window."),
    "estimated_performance": ("gauge", "Performance estimated without the truth, in the last window."),
    "reference_performance": ("gauge", "The same on the rows that the version was judged on."),
}


class Known(NamedTuple):
    """What is read of the records: counts, states of detectors, and the last finding of each kind, decoded."""

    found: list[tuple[str, str, str, int]]  # endpoint, kind, severity, count
    opened: list[tuple[str, str, int]]  # endpoint, group, count
    unclosed: list[tuple[str, str, str, int]]  # endpoint, group, severity, count
    outbox: dict[str, int]
    states: list[tuple[str, int, str, Any]]  # endpoint, version, detector, state
    last: list[tuple[str, int, str, Any]]  # endpoint, version, kind, evidence


def known(connection: sa.Connection) -> Known:
    """Read it, in a few statements."""
    count = sa.func.count()
    newest = _newest(connection)
    last = (
        sa.select(
            findings.c.endpoint, findings.c.version, findings.c.kind, sa.func.max(findings.c.window_to).label("to")
        )
        .group_by(findings.c.endpoint, findings.c.version, findings.c.kind)
        .subquery()
    )
    is_last = (
        (findings.c.endpoint == last.c.endpoint)
        & (findings.c.version == last.c.version)
        & (findings.c.kind == last.c.kind)
        & (findings.c.window_to == last.c.to)
    )
    of_last = (
        sa.select(findings.c.endpoint, findings.c.version, findings.c.kind, findings.c.evidence)
        .join(last, is_last)
        .order_by(findings.c.at, findings.c.key)
    )
    states = sa.select(detectors.c.endpoint, detectors.c.version, detectors.c.name, detectors.c.state)
    by_kind = (findings.c.endpoint, findings.c.kind, findings.c.severity)
    by_group = (incidents.c.endpoint, incidents.c.kind_group)
    not_closed = incidents.c.state != "closed"

    def rows(query: Any) -> list[Any]:
        return [tuple(row) for row in connection.execute(query).all() if row[0] in newest]

    def of_newest(query: Any) -> list[tuple[str, int, str, Any]]:
        found = rows(query)
        return [(name, one, what, msgspec.json.decode(told)) for name, one, what, told in found if newest[name] == one]

    return Known(
        found=rows(sa.select(*by_kind, count).group_by(*by_kind).order_by(*by_kind)),
        opened=rows(sa.select(*by_group, count).group_by(*by_group).order_by(*by_group)),
        unclosed=rows(
            sa.select(*by_group, incidents.c.severity, count)
            .where(not_closed)
            .group_by(*by_group, incidents.c.severity)
            .order_by(*by_group, incidents.c.severity)
        ),
        outbox={
            row[0]: row[1]
            for row in connection.execute(
                sa.select(notices.c.state, count)
                .join(incidents, incidents.c.number == notices.c.incident)
                .where(notices.c.state != "sent", not_closed)
                .group_by(notices.c.state)
            )
        },
        states=of_newest(states.order_by(detectors.c.endpoint, detectors.c.version, detectors.c.name)),
        last=of_newest(of_last),
    )


def _newest(connection: sa.Connection) -> dict[str, int]:
    """Of the first MAX_ENDPOINTS endpoints by name: the version that something was found about last."""
    last = sa.func.max(findings.c.at)
    query = sa.select(findings.c.endpoint, findings.c.version, last).group_by(findings.c.endpoint, findings.c.version)
    found: dict[str, tuple[int, int]] = {}
    for endpoint, version, at in connection.execute(query):
        found[endpoint] = max(found.get(endpoint, (0, 0)), (at, version))
    return {endpoint: found[endpoint][1] for endpoint in sorted(found)[:MAX_ENDPOINTS]}


def exposition(told: Known, feedback: Sequence[Feedback], windows: list[MaintenanceWindow], *, now: int) -> bytes:
    """Everything in the text format, version 0.0.4."""
    values: dict[str, dict[str, float]] = {name: {} for name in FAMILIES}
    for name, labels, value in _values(told, feedback, windows, now):
        values[name][_labels(labels)] = value  # of two that are the same the later one: it is the newest
    lines: list[str] = []
    for name, (kind, says) in FAMILIES.items():
        if values[name]:
            lines += [f"# HELP perennial_{name} {says}", f"# TYPE perennial_{name} {kind}"]
            lines += [f"perennial_{name}{labels} {_number(value)}" for labels, value in values[name].items()]
    return "".join(f"{line}\n" for line in lines).encode()


Value = tuple[str, dict[str, str], float]


def _values(told: Known, feedback: Sequence[Feedback], windows: list[MaintenanceWindow], now: int) -> Iterator[Value]:
    for endpoint, kind, severity, count in told.found:
        yield "findings_total", {"endpoint": endpoint, "kind": kind, "severity": severity}, count
    for endpoint, group, count in told.opened:
        yield "incidents_total", {"endpoint": endpoint, "group": group}, count
    for endpoint in {endpoint: None for endpoint, *_ in told.found}:  # a zero says that it is watched
        for group in dict.fromkeys(GROUPS.values()):
            for severity in ("warn", "critical"):
                yield "incidents_open", {"endpoint": endpoint, "group": group, "severity": severity}, 0
        yield "maintenance_active", {"endpoint": endpoint}, float(covering(windows, endpoint, now) is not None)
    for endpoint, group, severity, count in told.unclosed:
        yield "incidents_open", {"endpoint": endpoint, "group": group, "severity": severity}, count
    for line in feedback[:MAX_ENDPOINTS]:
        yield "false_alarms", {"endpoint": line.endpoint}, line.false_alarms
        yield "false_alarms_promised", {"endpoint": line.endpoint}, line.promised
    for state in ("waiting", "given up"):
        yield "notices", {"state": state.replace(" ", "_")}, told.outbox.get(state, 0)
    for endpoint, version, name, state in told.states:
        yield from _evidence({"endpoint": endpoint, "version": str(version)}, name, state)
    for endpoint, version, kind, evidence in told.last:
        yield from _found({"endpoint": endpoint, "version": str(version)}, kind, evidence)


def _evidence(where: dict[str, str], name: str, state: Any) -> Iterator[Value]:
    """Of a detector, or of its parts: whatever in its state holds both an evidence and a threshold."""
    if not isinstance(state, dict):
        return
    evidence, threshold = state.get("evidence"), state.get("threshold")
    if isinstance(evidence, int | float) and isinstance(threshold, int | float):
        yield "detector_evidence", where | {"detector": name}, evidence
        yield "detector_threshold", where | {"detector": name}, threshold
        return
    for part, inner in list(state.items())[:MAX_COLUMNS]:
        if isinstance(inner, dict):
            yield from _evidence(where, f"{name}/{part}", inner)


def _found(where: dict[str, str], kind: str, evidence: dict[str, Any]) -> Iterator[Value]:
    """Numbers of the last finding of a kind that are worth a line over time."""
    columns = evidence.get("columns")
    if kind == "covariate_shift" and isinstance(columns, dict):
        psi = {name: numbers["psi"] for name, numbers in columns.items() if _has_number(numbers, "psi")}
        told = sorted(psi, key=lambda name: -psi[name])[:MAX_COLUMNS]
        yield from (("column_psi", where | {"column": name}, psi[name]) for name in told)
        yield "columns_left_out", where, len(psi) - len(told)
    if _has_number(evidence, "e_value") and _has_number(evidence, "threshold"):
        name = f"{kind}/{part}" if isinstance(part := evidence.get("detector"), str) else kind
        yield "detector_evidence", where | {"detector": name}, evidence["e_value"]
        yield "detector_threshold", where | {"detector": name}, evidence["threshold"]
    if kind == "prediction_shift" and _has_number(evidence, "psi"):
        yield "prediction_psi", where, evidence["psi"]
    if kind == "performance_drop" and _has_number(evidence, "recent_mean_loss"):
        yield "realised_performance", where | {"metric": "mean_loss"}, evidence["recent_mean_loss"]
        if _has_number(evidence, "held_out_mean_loss"):
            yield "reference_performance", where | {"metric": "mean_loss"}, evidence["held_out_mean_loss"]
    for of, name in (("realised", "realised_performance"), ("estimated", "estimated_performance")):
        yield from _measured(where, name, evidence.get(of))


def _measured(where: dict[str, str], name: str, told: Any) -> Iterator[Value]:
    """`told`: one or several of {"metric", "value", "method"?, "reference_value"?}."""
    several: Iterable[Any] = told if isinstance(told, list) else [told]
    for one in list(several)[:MAX_COLUMNS]:
        if _has_number(one, "value") and isinstance(one.get("metric"), str):
            labels = where | {"metric": one["metric"]}
            method = {"method": str(one["method"])} if "method" in one else {}
            yield name, labels | method, one["value"]
            if _has_number(one, "reference_value"):
                yield "reference_performance", labels, one["reference_value"]


def _has_number(told: Any, name: str) -> bool:
    return isinstance(told, dict) and _is_number(told.get(name))


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _labels(labels: Mapping[str, str]) -> str:
    told = ",".join(f'{name}="{_escaped(value)}"' for name, value in labels.items())
    return f"{{{told}}}" if told else ""


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) and abs(value) < 2**53 else repr(float(value))
