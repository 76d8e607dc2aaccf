"""The tour of monitoring runs as it stands: every command, every picture, and what was said beside what is true."""

from __future__ import annotations

import doctest
import os
import re
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from .test_tour import WAITING, blocks, commands, fits, run

DOCS = Path(__file__).parents[2] / "docs" / "monitoring"
TOUR = (DOCS / "tour.md").read_text()
PLAIN = (DOCS / "plain-files.md").read_text()
PICTURES = re.findall(r"\]\(pictures/(\S+?)\)", TOUR)
LARGEST_BYTES = 60_000
SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, shared_data: Path) -> Iterator[Path]:
    """A folder in which DATA is known, and `perennial` and `python` are those that are tested."""
    programs = tmp_path_factory.mktemp("programs")
    for name, words in (("perennial", "-m perennial"), ("python", "")):
        (programs / name).write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} {words} "$@"\n')
        (programs / name).chmod(0o755)
    folder = tmp_path_factory.mktemp("tour")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
        patch.setenv("DATA", str(shared_data))
        patch.delenv("PERENNIAL_HOME", raising=False)
        patch.setenv("PWD", str(folder))
        patch.chdir(folder)
        yield folder


@pytest.fixture(scope="module")
def printed(folder: Path) -> dict[int, list[str]]:
    """Everything that the page says to do, done: the lines that each command printed, by the command's line."""
    told: dict[int, list[str]] = {}
    for block in blocks(TOUR):
        if block.language == "python":
            (folder / "prepare.py").write_text(block.text)
        if block.language != "console":
            continue
        for command in commands(block):
            code, text = run(command.typed)
            lines = [line.rstrip() for line in text.splitlines() if not WAITING.match(line)]
            assert code == command.code, "\n".join([f"line {command.line}: {command.typed}", *lines])
            told[command.line] = lines
    return told


@pytest.mark.long
def test_each_command_prints_what_the_page_shows(printed: dict[int, list[str]]) -> None:
    differing = [
        f"line {command.line}: $ {command.typed}\n" + "\n".join(printed[command.line])
        for block in blocks(TOUR)
        if block.language == "console"
        for command in commands(block)
        if not fits(command.shown, printed[command.line])
    ]
    assert not differing, "\n\n".join(["the page shows other lines than these:", *differing])


@pytest.mark.long
def test_the_python_of_the_page_returns_what_it_shows(printed: dict[int, list[str]]) -> None:
    names: dict[str, object] = {}
    for block in blocks(TOUR):
        if block.language == "pycon":
            test = doctest.DocTestParser().get_doctest(block.text, names, "tour.md", "tour.md", block.line)
            told: list[str] = []
            doctest.DocTestRunner(optionflags=doctest.ELLIPSIS).run(test, out=told.append, clear_globs=False)
            assert not told, "".join(told)
            names = test.globs


@pytest.mark.long
def test_the_pictures_are_those_that_the_commands_draw(printed: dict[int, list[str]], folder: Path) -> None:
    """Equal to the letter: what is drawn depends on the numbers alone."""
    for name in PICTURES:
        kept = ET.fromstring((DOCS / "pictures" / name).read_text())
        drawn = ET.fromstring((folder / name.replace("-", "/", 1)).read_text())
        assert kept.attrib == drawn.attrib, name
        assert [one.tag for one in kept.iter()] == [one.tag for one in drawn.iter()], name
        labels = [[text.text for text in one.iter(f"{SVG}text")] for one in (kept, drawn)]
        assert labels[0] == labels[1], name


def test_the_pictures_are_small_and_whole() -> None:
    assert len(PICTURES) >= 4
    assert sorted(PICTURES) == sorted(file.name for file in (DOCS / "pictures").iterdir())
    for name in PICTURES:
        text = (DOCS / "pictures" / name).read_text()
        assert len(text.encode()) < LARGEST_BYTES
        root = ET.fromstring(text)
        assert root.tag == f"{SVG}svg"
        assert not re.findall(r"<script|https?://(?!www\.w3\.org/2000/svg)", text)


def test_the_table_says_what_the_commands_said() -> None:
    shown = re.findall(r"^why: (.+?); what the evidence supports: (.+)$", TOUR, re.MULTILINE)
    rows = re.findall(r"^\| [^|]+ \| [^|]+ \| ([^|]+?) \| ([^|]+?) \|$", TOUR, re.MULTILINE)
    assert [row for row in rows if not row[0].startswith("said")] == shown
    assert len(shown) == 5


def test_the_pages_lead_to_each_other_and_show_no_path_of_a_machine() -> None:
    assert "(plain-files.md)" in TOUR
    assert "(tour.md)" in PLAIN
    for page in (TOUR, PLAIN):
        assert not re.search(r"/(home|root|Users|tmp|work)/", page)
        for link in re.findall(r"\]\((?!http)([^)#]+)", page):
            assert (DOCS / link).exists(), link


def test_every_option_of_the_command_is_on_the_page() -> None:
    from perennial.cli.main import parser_of

    shown = parser_of("monitor", ["run"])
    text = "".join(action.format_help() for action in shown._actions[-1].choices.values())  # pyright: ignore[reportAttributeAccessIssue, reportOptionalMemberAccess]
    options = set(re.findall(r"(--[a-z-]+)", text)) - {"--help", "--home", "--json"}
    assert {"--reference", "--html", "--window"} <= options
    assert options <= set(re.findall(r"`(--[a-z-]+)", PLAIN))
