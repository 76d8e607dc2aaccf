"""Charts of a card are drawn whatever the curves are, and their names stand apart."""

from __future__ import annotations

import re
from itertools import pairwise

import pytest

from perennial.models.facts.evaluation import Curve
from perennial.registry.card.charts import NAME, curves_chart


def heights(ends: list[float]) -> list[float]:
    """Where the names of curves stand that end at these values, from top to bottom in pixels."""
    curves = [
        Curve(kind="training", name=f"curve {place}", x=[1.0, 2.0], y=[1.0, end]) for place, end in enumerate(ends)
    ]
    drawn = str(curves_chart(curves, "curves", x_name="rounds"))
    found = re.findall(r'<text[^>]*class="name[^>]*>', drawn)
    assert len(found) == len(ends)
    return [float(height[1]) for name in found if (height := re.search(r' y="([-\d.]+)"', name))]


@pytest.mark.parametrize(
    "ends",
    [
        [0.05, 0.04, 0.0333],  # training losses of boosting, all of which end near the axis: once this never returned
        [0.0, 0.0, 0.0],
        [1.0, 1.0, 1.0, 1.0],
        [0.5, 0.5, 0.49, 0.51, 0.5],
        [0.0, 0.07, 0.0, 0.14, 0.0],
    ],
)
def test_names_of_curves_that_end_together_stand_apart(ends: list[float]) -> None:
    places = sorted(heights(ends))
    assert len(places) == len(ends)
    assert min(b - a for a, b in pairwise(places)) > NAME - 0.2
    assert places[0] >= 0
    assert places[-1] <= 220  # within the drawing


def test_more_curves_than_names_have_room_are_drawn_all_the_same() -> None:
    assert len(heights([0.0] * 40)) == 40
