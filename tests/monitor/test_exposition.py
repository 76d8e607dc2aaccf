"""Metrics in Prometheus' text format, in a bounded number of series; and a dashboard that asks for them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from perennial.monitor.incidents.exposition import FAMILIES, MAX_COLUMNS, MAX_ENDPOINTS, exposition, known
from perennial.monitor.incidents.grafana import dashboard
from perennial.serve import counters
from tests.monitor.alarms import House, drop, house, shift

SAMPLE = re.compile(r'([a-z_]+)(?:\{((?:[a-z_]+="(?:[^"\\\n]|\\[\\"n])*",?)*)\})? (-?[0-9.e+-]+)')


@pytest.fixture
def at(tmp_path: Path) -> Iterator[House]:
    with house(tmp_path) as one:
        yield one


def told(at: House) -> str:
    text = exposition(
        at.records.read(known), at.incidents.feedback(), at.maintenance.list(active=True), now=at.clock.now()
    ).decode()
    seen = set[str]()
    family = ""
    for line in text.splitlines():
        # By the format's own rules: HELP and TYPE first, each family together, each series once.
        if line.startswith("# HELP "):
            family = line.split()[2]
            assert family not in seen
            seen.add(family)
        elif line.startswith("# TYPE "):
            assert line.split()[2:] == [family, FAMILIES[family.removeprefix("perennial_")][0]]
        else:
            found = SAMPLE.fullmatch(line)
            assert found is not None, line
            assert found[1] == family
    samples = [line.rpartition(" ")[0] for line in text.splitlines() if not line.startswith("#")]
    assert len(samples) == len(set(samples))
    return text


def test_a_workspace_without_findings_tells_its_outbox(at: House) -> None:
    assert [line for line in told(at).splitlines() if not line.startswith("#")] == [
        'perennial_notices{state="waiting"} 0',
        'perennial_notices{state="given_up"} 0',
    ]


def test_findings_incidents_and_numbers_are_told(at: House) -> None:
    evidence = {"columns": {"age": {"psi": 0.31}, "pay": {"psi": 0.02}}}
    at.find(shift(0, evidence={"columns": {"age": {"psi": 9.0}}}), shift(1, evidence=evidence), drop(1))
    estimated = [{"metric": "accuracy", "method": "cbpe", "value": 0.8, "reference_value": 0.9}]
    at.find(shift(1, kind="estimated_drop", key="e", evidence={"estimated": estimated}))
    at.find(shift(1, kind="prediction_shift", key="p", severity="info", evidence={"psi": 0.05}))
    at.incidents.false_alarm(number=1, comment="a holiday")
    at.maintenance.start(endpoint="wages", reason="moving house")
    text = told(at)
    for line in (
        'perennial_findings_total{endpoint="wages",kind="covariate_shift",severity="warn"} 2',
        'perennial_findings_total{endpoint="wages",kind="prediction_shift",severity="info"} 1',
        'perennial_incidents_total{endpoint="wages",group="performance"} 1',
        'perennial_incidents_open{endpoint="wages",group="performance",severity="critical"} 1',
        'perennial_incidents_open{endpoint="wages",group="inputs",severity="warn"} 0',
        'perennial_incidents_open{endpoint="wages",group="service",severity="critical"} 0',
        'perennial_false_alarms{endpoint="wages"} 1',
        'perennial_false_alarms_promised{endpoint="wages"} 1',
        'perennial_maintenance_active{endpoint="wages"} 1',
        'perennial_notices{state="waiting"} 1',  # of what is over nobody need hear any more
        'perennial_column_psi{endpoint="wages",version="3",column="age"} 0.31',
        'perennial_columns_left_out{endpoint="wages",version="3"} 0',
        'perennial_prediction_psi{endpoint="wages",version="3"} 0.05',
        'perennial_detector_evidence{endpoint="wages",version="3",detector="performance_drop/loss"} 200000',
        'perennial_detector_threshold{endpoint="wages",version="3",detector="performance_drop/loss"} 100000',
        'perennial_realised_performance{endpoint="wages",version="3",metric="mean_loss"} 0.4',
        'perennial_reference_performance{endpoint="wages",version="3",metric="mean_loss"} 0.2',
        'perennial_estimated_performance{endpoint="wages",version="3",metric="accuracy",method="cbpe"} 0.8',
        'perennial_reference_performance{endpoint="wages",version="3",metric="accuracy"} 0.9',
    ):
        assert line in text.splitlines()


def test_states_of_detectors_are_told_with_what_they_alarm_at(at: House) -> None:
    at.find(shift(0))
    state = {"evidence": 12.5, "threshold": 600.0}
    at.monitor.step(
        endpoint="wages", version=3, name="errors", cursor_from=0, cursor_to=1, state={"failed": state}, found=[]
    )
    text = told(at)
    assert 'perennial_detector_evidence{endpoint="wages",version="3",detector="errors/failed"} 12.5' in text
    assert 'perennial_detector_threshold{endpoint="wages",version="3",detector="errors/failed"} 600' in text


def test_only_the_version_that_something_was_found_about_last_is_told(at: House) -> None:
    at.find(shift(0))
    at.find(shift(1, version=4, key="four"))
    assert 'version="4"' in told(at)
    assert 'version="3"' not in told(at)


def test_the_number_of_series_is_bounded(at: House) -> None:
    columns = {f"c{number:03}": {"psi": number / 1000} for number in range(300)}
    at.find(shift(0, evidence={"columns": columns}))
    for number in range(MAX_ENDPOINTS + 20):
        at.find(shift(0), endpoint=f"a{number:03}")
    text = told(at)
    assert text.count("perennial_column_psi{") <= MAX_COLUMNS + MAX_ENDPOINTS
    assert f'a{MAX_ENDPOINTS - 1:03}"' in text
    assert f'a{MAX_ENDPOINTS:03}"' not in text


def test_of_many_columns_the_largest_are_told_and_the_rest_is_counted(at: House) -> None:
    columns = {f"c{number:03}": {"psi": number / 1000} for number in range(300)}
    at.find(shift(0, evidence={"columns": columns}))
    text = told(at)
    assert text.count("perennial_column_psi{") == MAX_COLUMNS
    assert 'column="c299"} 0.299' in text
    assert f'perennial_columns_left_out{{endpoint="wages",version="3"}} {300 - MAX_COLUMNS}' in text


def test_C18_names_of_columns_are_escaped(at: House) -> None:
    name = 'a"b\\c\nd{}'
    at.find(shift(0, evidence={"columns": {name: {"psi": 0.5}}}))
    assert r'column="a\"b\\c\nd{}"} 0.5' in told(at)


@pytest.mark.parametrize("psi", [None, "much", True, [], {}])
def test_F39_what_is_no_number_is_left_out(at: House, psi: object) -> None:
    at.find(shift(0, evidence={"columns": {"age": {"psi": psi}, "pay": {"psi": 0.1}, "more": 3}}))
    assert told(at).count("perennial_column_psi{") == 1


def test_the_dashboard_asks_only_for_what_is_measured() -> None:
    made = dashboard()
    queries = [target["expr"] for panel in made["panels"] for target in panel.get("targets", [])]
    queries += [one["definition"] for one in made["templating"]["list"] if "definition" in one]
    named = {name for query in queries for name in re.findall(r"perennial_([a-z_]+)", query)}
    gauges = {"ready", "breakers_open", "shadow_pending", "predictions_dropped_total", "request_seconds_bucket"}
    served = set(counters._SAYS) | gauges
    assert named <= served | set(FAMILIES)
    assert set(FAMILIES) - named == {"incidents_total", "columns_left_out"}  # all others are drawn


def test_the_dashboard_is_one_that_grafana_reads() -> None:
    made = json.loads(json.dumps(dashboard()))
    assert made["schemaVersion"] >= 38
    numbers = [panel["id"] for panel in made["panels"]]
    assert numbers == list(range(1, len(numbers) + 1))
    taken = set[tuple[int, int]]()
    for panel in made["panels"]:
        at = panel["gridPos"]
        assert 0 <= at["x"] < at["x"] + at["w"] <= 24
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not cells & taken
        taken |= cells
        assert panel["type"] in {"row", "stat", "timeseries"}
        for target in panel.get("targets", []):
            assert target["datasource"] == {"type": "prometheus", "uid": "${source}"}
            assert target["expr"].count("(") == target["expr"].count(")")
    assert [one["name"] for one in made["templating"]["list"]] == ["source", "endpoint"]


def test_a_count_never_falls(at: House) -> None:
    at.find(shift(0))
    first = told(at)
    at.clock.advance(60 * 86_400)
    at.incidents.close_quiet()
    line = 'perennial_incidents_total{endpoint="wages",group="inputs"} 1'
    assert line in first
    assert line in told(at)
