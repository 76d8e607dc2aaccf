"""Charts are whole whatever is in them: any text, any number that a computation can give."""

from __future__ import annotations

import re
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perennial.monitor.reporting.drawing import SHADES, distribution, heat_map, performance_chart, shade, shares_chart
from perennial.monitor.reporting.report import Column, Grid, Measured, Performance, Series, Share

NUMBERS = st.none() | st.floats(allow_nan=False, allow_infinity=False, width=32)
GEOMETRY = frozenset(
    ["x", "y", "x1", "x2", "y1", "y2", "cx", "cy", "r", "rx", "width", "height", "points", "d", "viewBox"]
)
POINTS = st.builds(Measured, value=NUMBERS, low=NUMBERS, high=NUMBERS, rows=st.integers(0, 10**9))


def whole(drawn: str) -> ET.Element:
    root = ET.fromstring(str(drawn))
    for element in root.iter():  # a name may well be "nan", a number may not
        numbers = [value for name, value in element.attrib.items() if name in GEOMETRY]
        numbers += [element.text or ""] if element.attrib.get("class") == "value" else []
        assert not re.search(r"nan|inf", " ".join(numbers))
        assert "style" not in element.attrib, "a strict page allows no style attribute"
    return root


def grid(name: str, excess: list[float | None]) -> Grid:
    return Grid(
        window="day",
        labels=[f"{name}{at}" for at in range(len(excess))],
        rows=[100] * len(excess),
        columns=[name],
        excess=[excess],
        marked=[[value is not None for value in excess]],
        rests_on="",
    )


@given(st.text(max_size=60), st.lists(NUMBERS, min_size=1, max_size=80))
def test_C07_a_heat_map_of_anything_is_well_formed(name: str, excess: list[float | None]) -> None:
    cells = [one for one in whole(heat_map(grid(name, excess))).iter("rect") if "cell" in one.attrib["class"]]
    assert len(cells) == len(excess)


@given(st.text(max_size=60), POINTS, st.lists(POINTS, min_size=1, max_size=40), st.lists(POINTS, max_size=40))
def test_C07_performance_of_anything_is_well_formed(
    name: str, reference: Measured, real: list[Measured], guess: list[Measured]
) -> None:
    series = [Series(method="realised", points=real, rests_on=name)]
    guess = (guess * len(real))[: len(real)] or real
    series.append(Series(method=name, points=guess, rests_on=name, is_chosen=True))
    found = Performance(
        metric=name, higher_is_better=True, reference=reference, overall={}, rests_on={}, chosen=name,
        is_worse=False, says=name, labels=[name] * len(real), series=series,
    )  # fmt: skip
    drawn = performance_chart(found)
    if drawn:
        for circle in whole(drawn).iter("circle"):
            assert 0 <= float(circle.attrib["cx"]) <= 960
            assert 0 <= float(circle.attrib["cy"]) <= 220


@given(st.text(max_size=60), st.lists(st.tuples(st.text(max_size=30), st.integers(0, 10**9), st.integers(0, 10**9))))
def test_C07_a_distribution_of_anything_is_well_formed(name: str, bins: list[tuple[str, int, int]]) -> None:
    column = Column(
        name=name, kind="text", decision="shifted", psi=1.0, excess=1.0, p_value=0.0,
        labels=[label for label, _, _ in bins], reference=[one for _, one, _ in bins],
        current=[one for *_, one in bins],
    )  # fmt: skip
    drawn = distribution(column)
    if drawn:
        whole(drawn)


@given(st.lists(st.builds(Share, name=st.text(max_size=60), value=st.floats(-1e9, 1e9), low=NUMBERS, high=NUMBERS)))
def test_C07_shares_of_anything_are_well_formed(shares: list[Share]) -> None:
    drawn = shares_chart(shares, "shares")
    if drawn:
        whole(drawn)


@pytest.mark.parametrize("place, edge", list(enumerate(SHADES)))
def test_a_shade_begins_at_its_edge(place: int, edge: float) -> None:
    assert shade(edge) == place
    assert shade(edge + 1e-9) == place


def test_a_line_does_not_cross_a_window_of_which_nothing_is_known() -> None:
    points = [Measured(value=value) for value in (0.5, 0.6, None, 0.7, 0.8)]
    found = Performance(
        metric="accuracy", higher_is_better=True, reference=Measured(value=0.6), overall={}, rests_on={}, chosen=None,
        is_worse=False, says="", labels=list("abcde"), series=[Series(method="realised", points=points, rests_on="")],
    )  # fmt: skip
    lines = list(whole(performance_chart(found)).iter("polyline"))
    assert [len(one.attrib["points"].split()) for one in lines] == [2, 2]
