"""The page and the notebook's piece of it: they load nothing, run nothing, leak nothing, and text stays text."""

from __future__ import annotations

import base64
import hashlib
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from perennial.data.profile import Profile, profile
from perennial.data.profile.drift import drift
from perennial.data.profile.page import fragment, page
from perennial.data.scan import scan

SCRIPT = "<script>alert(1)</script>"


class Parsed(HTMLParser):
    """The tags of a page, their attributes, and its text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]

    def handle_data(self, data: str) -> None:
        self.text += " " + data


@pytest.fixture(scope="module")
def taxi(shared_data: Path) -> str:
    before, now = (shared_data / "chicago_taxi" / name for name in ("train.csv.gz", "eval.csv.gz"))
    return page(
        profile(now, target="payment_type", name="eval"),
        against=profile(before, name="train"),
        drift=drift(scan(before), scan(now)),
        title="Taxi",
    )


def test_the_page_loads_and_runs_nothing(taxi: str) -> None:
    found = Parsed(taxi)
    assert not {"script", "link", "img", "iframe", "object", "embed", "image", "form"} & set(found.tags)
    assert not [name for _, name, _ in found.attributes if name.startswith("on") or name in {"src", "style"}]
    assert {value[0] for _, name, value in found.attributes if name == "href"} == {"#"}
    assert not re.search(r"@import|@font-face|url\(|https?://", taxi)


def test_the_policy_of_the_page_allows_its_own_style_and_nothing_else(taxi: str) -> None:
    policy = next(value for _, name, value in Parsed(taxi).attributes if name == "content" and "default-src" in value)
    style = re.search(r"<style>(.*?)</style>", taxi, re.DOTALL)
    assert style is not None
    sealed = base64.b64encode(hashlib.sha256(style[1].encode()).digest()).decode()
    assert policy == f"default-src 'none'; style-src 'sha256-{sealed}'; base-uri 'none'; form-action 'none'"


def test_every_link_of_the_page_has_a_place_to_go(taxi: str) -> None:
    found = Parsed(taxi).attributes
    places = [value for _, name, value in found if name == "id"]
    assert len(places) == len(set(places))
    assert {value[1:] for _, name, value in found if name == "href"} <= set(places)


def test_the_page_shows_both_versions_what_tells_about_the_target_and_what_goes_together(taxi: str) -> None:
    text = " ".join(Parsed(taxi).text.split())
    for told in ("5,000", "10,000 before", "What tells about payment_type", "What goes together", "within tolerance"):
        assert told in text
    assert "pickup_census_tract has no value at all" in text
    assert taxi.count('class="outline"') > 5


def test_C07_script_in_names_and_values_is_shown_as_text() -> None:
    frame = pl.DataFrame(
        {
            SCRIPT: [SCRIPT, "\"><img src=x onerror='alert(1)'>", "a&b"] * 100,
            "x' onload='alert(1)": np.arange(300) % 20,
            "</style>": np.random.default_rng(0).normal(size=300),
        }
    )
    found = profile(frame, name=SCRIPT, target=SCRIPT)
    made = page(found, against=found, drift=drift(scan(frame), scan(frame.head(150))), title=SCRIPT)
    for text in (made, fragment(found)):
        parsed = Parsed(text)
        assert not {"script", "img"} & set(parsed.tags)
        assert not [name for _, name, _ in parsed.attributes if name.startswith("on")]
        assert parsed.tags.count("style") == 1
        assert SCRIPT in parsed.text


def test_a_notebook_shows_the_same_charts_and_keeps_its_own_look(shared_data: Path) -> None:
    found = profile(shared_data / "bike_sharing" / "day.csv", target="cnt")
    shown = found._repr_mimebundle_()
    assert shown["text/html"] == found._repr_html_()
    assert "731 rows, 16 columns" in shown["text/plain"]
    piece = shown["text/html"]
    assert re.findall(r"<svg.*?</svg>", piece, re.DOTALL) == re.findall(r"<svg.*?</svg>", page(found), re.DOTALL)
    assert not [value for _, name, value in Parsed(piece).attributes if name in ("id", "href")]
    assert "<html" not in piece
    style = re.sub(r"\s+", " ", piece[piece.index("<style>") + 7 : piece.index("</style>")])
    for selector in outermost(style):
        assert all(".perennial-profile" in part for part in selector.split(",")), selector


def outermost(style: str) -> list[str]:
    """The selectors of the rules that stand in no other rule; a condition such as @media is looked into."""
    found: list[str] = []
    depth, start, inside = 0, 0, 0
    for place, letter in enumerate(style):
        if letter == "{":
            selector = style[start:place].strip()
            if selector.startswith("@"):
                inside += 1
            elif depth == inside:
                found.append(selector)
            depth, start = depth + 1, place + 1
        elif letter in "};":
            start = place + 1
            if letter == "}":
                depth -= 1
                inside = min(inside, depth)
    return found


def test_a_page_of_a_hundred_columns_is_drawn_from_the_profile_alone() -> None:
    random = np.random.default_rng(0)
    frame = pl.DataFrame({f"c{k}": random.normal(size=500) for k in range(100)})
    kept = profile(frame, target="c1").to_bytes()
    assert page(Profile.from_bytes(kept)).count("<svg") >= 100
