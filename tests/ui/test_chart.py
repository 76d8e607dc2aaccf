"""Charts: ticks a person would choose, and no double that breaks them."""

from __future__ import annotations

import math
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perennial.ui.axis import Axis, tick_label
from perennial.ui.chart import Line, draw, look

SVG = "{http://www.w3.org/2000/svg}"
FINITE = st.floats(allow_nan=False, allow_infinity=False)


@pytest.mark.parametrize(
    "low, high, labels",
    [
        (0, 1, ["0", "0.2", "0.4", "0.6", "0.8", "1"]),
        (0, 10_000_000, ["0", "2M", "4M", "6M", "8M", "10M"]),
        (0, 1500, ["0", "0.5k", "1k", "1.5k"]),
        (-3, 3, ["-2", "0", "2"]),
        (0.1, 0.35, ["0.1", "0.15", "0.2", "0.25", "0.3", "0.35"]),
        (1e-12, 3e-12, ["1e-12", "1.5e-12", "2e-12", "2.5e-12", "3e-12"]),
    ],
)
def test_ticks_are_round_and_labelled_short(low: float, high: float, labels: list[str]) -> None:
    assert [label for _, label in Axis(low, high).ticks()] == labels


def test_a_logarithmic_axis_has_powers_of_ten() -> None:
    assert [label for _, label in Axis(0.01, 1000, is_log=True).ticks()] == ["0.01", "0.1", "1", "10", "100", "1k"]
    assert Axis(0.01, 100, is_log=True).place(1.0) == pytest.approx(0.5)


def test_steps_are_whole() -> None:
    assert [label for _, label in Axis(1, 3, is_whole=True).ticks()] == ["1", "2", "3"]


def test_neighbours_can_be_told_apart() -> None:
    labels = [label for _, label in Axis(1000.0001, 1000.0002).ticks()]
    assert len(labels) == len(set(labels)) > 2
    assert tick_label(0.0) == "0"


@given(st.lists(st.tuples(st.integers(-(2**63), 2**63 - 1), FINITE), max_size=8), st.booleans())
def test_any_points_make_a_picture_within_its_frame(points: list[tuple[int, float]], is_log: bool) -> None:
    line = Line("m", [float(step) for step, _ in points], [value for _, value in points])
    drawn = ET.fromstring(draw([line], title="t", is_log=is_log, stands_alone=True))
    for circle in drawn.iter(f"{SVG}circle"):
        x, y = float(circle.attrib["cx"]), float(circle.attrib["cy"])
        assert 0 <= x <= 420
        assert 0 <= y <= 240
    for path in drawn.iter(f"{SVG}path"):
        assert "nan" not in path.attrib["d"]
        assert "inf" not in path.attrib["d"]


@given(st.text(max_size=40))
def test_C07_any_text_makes_well_formed_xml(text: str) -> None:
    drawn = ET.fromstring(draw([Line(text, [1, 2], [1.0, math.nan])], title=text, stands_alone=True))
    assert drawn.find(f"{SVG}title") is not None


def test_twenty_runs_look_different() -> None:
    assert len({look(position) for position in range(20)}) == 20
