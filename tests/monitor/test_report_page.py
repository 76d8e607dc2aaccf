"""A report as a page: whole in itself, strict, the same numbers in every form, and text stays text."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import urlsplit
from xml.etree import ElementTree as ET

import msgspec
import numpy as np
import polars as pl
import pytest

from perennial.monitor import compare
from perennial.monitor.reporting.page import html
from perennial.monitor.reporting.report import MonitorReport

IN_CI = os.environ.get("CI", "").lower() in {"1", "true"}
SCRIPT = "<script>alert(1)</script>"
DAY = 86_400_000_000


def rows(n: int, seed: int, *, shift: float = 0.0, name: str = "kind") -> pl.DataFrame:
    draw = np.random.default_rng(seed)
    x = draw.normal(shift, 1.0, n)
    prob = 1 / (1 + np.exp(-x))
    return pl.DataFrame(
        {
            "x": x,
            name: draw.choice([SCRIPT, "b", "c"], n),
            "y": np.where(draw.random(n) < prob, "yes", "no"),
            "p": prob,
            "at": pl.Series(np.sort(draw.integers(0, 60 * DAY, n))).cast(pl.Datetime("us")),
        }
    )


@pytest.fixture(scope="module")
def report() -> MonitorReport:
    before, now = rows(3000, 0, name=SCRIPT), rows(3000, 1, shift=0.8, name=SCRIPT)
    return compare(
        before, now, target="y", probs="p", time="at", window="week", names=(SCRIPT, "now & then"), title=SCRIPT
    )


class _Reader(HTMLParser):
    """What of a page matters here: its tags, attributes and policy."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: set[str] = set()
        self.policy = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes |= {name for name, _ in attrs}
        given = dict(attrs)
        if given.get("http-equiv") == "Content-Security-Policy":
            self.policy = given["content"] or ""


def test_C07_the_page_holds_no_script_no_style_attribute_and_no_address(report: MonitorReport) -> None:
    page = html(report)
    reader = _Reader()
    reader.feed(page)
    assert SCRIPT not in page
    assert "&lt;script&gt;" in page
    assert "script" not in reader.tags
    assert not {name for name in reader.attributes if name.startswith("on") or name in ("style", "src", "href")}
    assert not re.findall(r"https?://|url\(|@import", page)
    assert "default-src 'none'" in reader.policy
    assert re.search(r"style-src 'sha256-[\w+/=]{44}'", reader.policy)


def test_the_page_tells_what_the_json_form_tells(report: MonitorReport) -> None:
    told = json.loads(report.json())
    page = html(report)
    assert told["severity"] == report.severity
    assert [one["name"] for one in told["columns"]] == ["x", SCRIPT]
    assert told["grid"]["columns"] == ["x", SCRIPT]
    assert len(told["grid"]["labels"]) == len(told["grid"]["excess"][0])
    assert page.count('class="cell') == 2 * len(told["grid"]["labels"])
    assert report.budget.split("(")[0] in page
    assert msgspec.convert({key: value for key, value in told.items() if key != "severity"}, MonitorReport) == report


def test_a_notebook_shows_the_same_body(report: MonitorReport) -> None:
    shown = report._repr_html_()
    assert shown.startswith("<style>")
    assert "What was found" in shown
    assert SCRIPT not in shown
    assert "<html" not in shown


def test_every_rule_of_the_style_stays_within_the_report(report: MonitorReport) -> None:
    """In a notebook it must not touch anything beside it."""
    style = re.sub(r"\{[^{}]*\}", "", re.search(r"<style>(.*?)</style>", report._repr_html_(), re.DOTALL)[1])  # pyright: ignore[reportOptionalSubscript]
    while "{" in style:
        inner = re.sub(r"\{[^{}]*\}", "", style)
        if inner == style:
            break
        style = inner
    selectors = [part.strip() for line in style.splitlines() for part in line.split(",") if part.strip()]
    assert selectors
    assert all(".perennial-monitor" in one or one.startswith("@media") for one in selectors), selectors


def test_charts_are_files_of_their_own(report: MonitorReport) -> None:
    drawn = report.charts()
    assert {"columns", "roc_auc", "accuracy", "column-x"} <= set(drawn)
    for chart in drawn.values():
        root = ET.fromstring(chart)
        assert root.tag == "{http://www.w3.org/2000/svg}svg"
        assert len(chart) < 60_000
        assert "var(--" in chart
        assert "--ink:" in chart


def test_a_terminal_shows_findings_numbers_and_the_budget(report: MonitorReport) -> None:
    text = report.text()
    assert text.startswith(f"{SCRIPT}: 3,000 rows beside 3,000")
    assert re.search(r"^!  1 of 2 inputs shifted, by PSI: x \(0\.\d+\)", text, re.MULTILINE)
    assert "ROC AUC, realised: " in text
    assert text.endswith("(Benjamini-Hochberg over 2 columns).")


def test_a_browser_opens_the_page_and_asks_for_nothing_else(report: MonitorReport, tmp_path: Path) -> None:
    browser = shutil.which("chromium")
    if browser is None:
        reason = "chromium is not installed"
        pytest.fail(reason) if IN_CI else pytest.skip(reason)
    file = tmp_path / "report.html"
    file.write_text(html(report), encoding="utf-8")
    log = tmp_path / "log.json"
    done = subprocess.run(
        [
            browser, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
            "--disable-component-update", "--disable-sync", f"--user-data-dir={tmp_path / 'profile'}",
            f"--log-net-log={log}", "--enable-logging=stderr", "--virtual-time-budget=3000",
            "--dump-dom", file.as_uri(),
        ],
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert "What was found" in done.stdout, done.stderr
    assert "Content Security Policy" not in done.stderr, "the page breaks its own policy"
    asked = set(re.findall(r'"url":"([^"]+)"', log.read_text(encoding="utf-8", errors="replace")))
    assert {url for url in asked if url.startswith("file:")} <= {file.as_uri()}
    assert not {urlsplit(url).netloc for url in asked if "report" in url and not url.startswith("file:")}
