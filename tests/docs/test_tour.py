"""The tour of data runs as it stands, prints what it shows, and its pictures show what it says."""

from __future__ import annotations

import doctest
import html
import io
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path

import pytest

from perennial.cli.main import main
from perennial.workspace import Workspace

DOCS = Path(__file__).parents[2] / "docs" / "data"
TOUR = (DOCS / "tour.md").read_text()
PICTURES = ("diff.png", "profile.png", "drift.png")
LARGEST_BYTES = 150_000
WAITING = re.compile(r"^.+ \.\.\. \d+ s$")  # what a slow machine tells beside a result


@dataclass
class Block:
    """A fenced block of the page; `line` is where it begins."""

    language: str
    text: str
    line: int


@dataclass
class Command:
    """A command as a person types it, what is shown below it, and its exit code."""

    typed: str
    shown: list[str]
    line: int

    @property
    def code(self) -> int:
        told = re.search(r"# exit code (\d)$", self.typed)
        return int(told[1]) if told else 0


def blocks(page: str) -> list[Block]:
    found = re.finditer(r"^```(\w+)\n(.*?)^```$", page, re.DOTALL | re.MULTILINE)
    return [Block(one[1], one[2], page.count("\n", 0, one.start()) + 2) for one in found]


def commands(block: Block) -> Iterator[Command]:
    """The commands of a console block: `$ ` begins one, `>` goes on with it, all else was printed."""
    command = None
    for number, line in enumerate(block.text.splitlines()):
        if line.startswith("$ "):
            if command:
                yield command
            command = Command(line[2:], [], block.line + number)
        else:
            assert command, f"line {block.line + number} shows what no command printed"
            if not command.shown and re.match(r">( |$)", line):
                command.typed += "\n" + line[2:]
            else:
                command.shown.append(line)
    if command:
        yield command


def fits(shown: list[str], printed: list[str]) -> bool:
    """Whether this was printed; `...` stands for anything, on a line of its own for any lines."""
    pattern = re.escape("\n".join(shown)).replace(r"\.\.\.", ".*")
    return re.fullmatch(pattern, "\n".join(printed), re.DOTALL) is not None


def run(typed: str) -> tuple[int, str]:
    """Exit code and all that is printed. What needs no shell runs in this process, which has imported much already."""
    typed = typed.replace("\\\n", "")  # as a shell goes on with a line; shlex would make a word of it
    words = shlex.split(os.path.expandvars(typed), comments=True)
    if words[0] == "perennial" and not re.search(r"[|<>;&*\[]", typed):
        printed = io.StringIO()
        with redirect_stdout(printed), redirect_stderr(printed):
            return main(words[1:]), printed.getvalue()
    done = subprocess.run(["/bin/sh", "-c", typed], capture_output=True, text=True, stdin=subprocess.DEVNULL)
    return done.returncode, done.stdout + done.stderr


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, shared_data: Path) -> Iterator[Path]:
    """A folder in which DATA is known, and `perennial` and `python` are those that are tested."""
    programs = tmp_path_factory.mktemp("programs")
    python = f'#!/bin/sh\nexec {shlex.quote(sys.executable)} {{}} "$@"\n'
    for name, words in (("perennial", "-m perennial"), ("python", "")):
        (programs / name).write_text(python.format(words))
        (programs / name).chmod(0o755)
    folder = tmp_path_factory.mktemp("tour")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
        patch.setenv("DATA", str(shared_data))
        patch.setenv("TZ", "UTC")
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
            name = re.match(r"# (\w+\.py)\n", block.text)
            assert name, f"the block at line {block.line} does not say which file it is"
            (folder / name[1]).write_text(block.text)
        if block.language != "console":
            continue
        for command in commands(block):
            code, text = run(command.typed)
            lines = [line.rstrip() for line in text.splitlines() if not WAITING.match(line)]
            assert code == command.code, "\n".join([f"line {command.line}: {command.typed}", *lines])
            told[command.line] = lines
    return told


def test_each_command_prints_what_the_page_shows(printed: dict[int, list[str]]) -> None:
    differing = [
        f"line {command.line}: $ {command.typed}\n" + "\n".join(printed[command.line])
        for block in blocks(TOUR)
        if block.language == "console"
        for command in commands(block)
        if not fits(command.shown, printed[command.line])
    ]
    assert not differing, "\n\n".join(["the page shows other lines than these:", *differing])


def test_the_python_of_the_page_returns_what_it_shows(printed: dict[int, list[str]]) -> None:
    names: dict[str, object] = {}
    try:
        for block in blocks(TOUR):
            if block.language == "pycon":
                test = doctest.DocTestParser().get_doctest(block.text, names, "tour.md", "tour.md", block.line)
                told: list[str] = []
                doctest.DocTestRunner(optionflags=doctest.ELLIPSIS).run(test, out=told.append, clear_globs=False)
                assert not told, "".join(told)
                names = test.globs
    finally:
        workspace = names.get("ws")
        if isinstance(workspace, Workspace):
            workspace.close()


def test_each_number_in_the_text_is_shown_by_a_command() -> None:
    text = re.sub(r"^```.*?^```$", "", TOUR, flags=re.DOTALL | re.MULTILINE)
    text = re.sub(r"`[^`]*`|\]\([^)]*\)|^\|.*$", "", text, flags=re.MULTILINE)
    shown = {number for block in blocks(TOUR) for number in re.findall(r"\d[\d,]*", block.text)}
    told = [number for number in re.findall(r"\b\d[\d,]*\b", text) if number.rstrip(",") not in shown]
    assert not told


def test_the_pages_hold_what_their_pictures_show(printed: dict[int, list[str]], folder: Path) -> None:
    pages = ("sales.html", "adult.html", "drift.html")
    diff, profile, drift = (html.unescape((folder / name).read_text()) for name in pages)
    assert re.search(r"changed.{0,60}\b119\b", diff, re.DOTALL)
    assert "was called" in diff
    assert "holds '?' in 5.66 % of the rows" in profile
    assert "What tells about income" in profile
    assert "1 of 15 columns differ from adult@1" in drift


def test_the_pictures_are_drawn_from_those_pages(printed: dict[int, list[str]], folder: Path, tmp_path: Path) -> None:
    for name in PICTURES:
        assert f"pictures/{name}" in TOUR
        assert (DOCS / "pictures" / name).stat().st_size < LARGEST_BYTES
    script = ["/bin/sh", str(DOCS / "pictures" / "draw.sh"), str(folder), str(tmp_path)]
    done = subprocess.run(script, capture_output=True, text=True)
    if done.returncode == 127:
        pytest.skip("chromium is not installed")
    assert done.returncode == 0, done.stderr
    for name in PICTURES:
        drawn, kept = ((where / name).read_bytes() for where in (tmp_path, DOCS / "pictures"))
        assert drawn[:24] == kept[:24]  # both are PNG, of one size
        assert len(drawn) < LARGEST_BYTES


def test_no_path_of_a_machine_is_shown() -> None:
    assert not re.search(r"/(home|root|Users|tmp|work)/", TOUR)


def test_what_is_shown_is_compared_line_by_line() -> None:
    assert fits(["a ... c", "d"], ["a b c", "d"])
    assert fits(["a", "...", "d"], ["a", "b", "c", "d"])
    assert not fits(["a"], ["a", "b"])
    assert not fits([], ["a"])
