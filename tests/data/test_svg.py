"""Pieces of charts: what a page cannot hold does not reach it, and axes have round numbers."""

from __future__ import annotations

import doctest
from xml.etree import ElementTree

import pytest

from perennial.data import svg


def test_the_examples_hold() -> None:
    assert doctest.testmod(svg).failed == 0


@pytest.mark.parametrize("words", ["<script>alert(1)</script>", 'a"b', "\x00\x1b[31m", "\ud800", "ü & ö"])
def test_C07_any_text_makes_well_formed_pictures_and_stays_a_text(words: str) -> None:
    drawn = svg.svg(100, 20.4, svg.text(1, 2, words, "end", "label", title=words + "!"), words)
    root = ElementTree.fromstring(drawn)
    assert [element.tag for element in root.iter()] == ["svg", "text", "title"]
    assert root.attrib["height"] == "20"


@pytest.mark.parametrize("low, high", [(0.0, 1.0), (-3.0, 17.0), (1e-9, 3e-9), (1e6, 1.2e6)])
def test_ticks_lie_within_and_are_about_as_many_as_asked_for(low: float, high: float) -> None:
    found = svg.ticks(low, high, 5)
    assert 2 <= len(found) <= 7
    assert all(low - 1e-12 <= one <= high * (1 + 1e-9) for one in found)
    assert svg.ticks(high, high, 5) == svg.ticks(0.0, float("inf"), 5) == []
