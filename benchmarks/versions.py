"""Versions of many small files, of one large file and of a growing table, beside DVC, a plain copy and a stat pass.

Whole commands, each a process of its own, as a person types them. Each round begins with an empty workspace.
"""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

from measure import Figure, Report, say, timed
from peers import SILENT, python_of, version_of

COMMAND = [sys.executable, "-m", "perennial"]


class Tool(Protocol):
    """What versions a folder called data."""

    says: str

    def begin(self, folder: Path) -> None: ...
    def add(self, folder: Path) -> None: ...
    def status(self, folder: Path) -> None: ...
    def checkout(self, folder: Path) -> None: ...
    def stored(self, folder: Path) -> int: ...


class Ours:
    says = "Perennial"

    def begin(self, folder: Path) -> None:
        pass

    def add(self, folder: Path) -> None:
        run(folder, *COMMAND, "data", "add", "data", "set")

    def status(self, folder: Path) -> None:
        run(folder, *COMMAND, "data", "status")

    def checkout(self, folder: Path) -> None:
        run(folder, *COMMAND, "data", "checkout", "set", "data")

    def stored(self, folder: Path) -> int:
        return size_of(folder / ".perennial" / "objects")


class Dvc:
    def __init__(self, python: Path) -> None:
        self.says = f"DVC {version_of(python, 'dvc')}"
        self.dvc = str(python.parent / "dvc")

    def begin(self, folder: Path) -> None:
        run(folder, "git", "init", "-q")
        run(folder, self.dvc, "init", "-q")

    def add(self, folder: Path) -> None:
        run(folder, self.dvc, "add", "-q", "data")

    def status(self, folder: Path) -> None:
        run(folder, self.dvc, "status", "-q")

    def checkout(self, folder: Path) -> None:
        run(folder, self.dvc, "checkout", "-q")

    def stored(self, folder: Path) -> int:
        return size_of(folder / ".dvc" / "cache")


class Copy:
    """`cp -r` into a second folder, and a stat of each file: the bare work."""

    says = "cp -r, or a stat of each file"

    def begin(self, folder: Path) -> None:
        pass

    def add(self, folder: Path) -> None:
        shutil.rmtree(folder / "copy", ignore_errors=True)
        run(folder, "cp", "-r", "data", "copy")

    def status(self, folder: Path) -> None:
        size_of(folder / "data")

    def checkout(self, folder: Path) -> None:
        run(folder, "cp", "-r", "copy", "data")

    def stored(self, folder: Path) -> int:
        return size_of(folder / "copy")


def measure(report: Report, folder: Path, *, quick: bool) -> None:
    dvc = python_of("dvc", "dvc")
    tools: list[Tool] = [Ours(), *([Dvc(dvc)] if dvc else []), Copy()]
    files, megabytes = (2_000, 200) if quick else (20_000, 2_000)
    _compare(report, folder, tools, f"{files:,} files of 4 KB", lambda root: many(root, files), one_file, rounds=3)
    _compare(
        report, folder, tools, f"one file of {megabytes:,} MB", lambda root: big(root, megabytes), one_block, rounds=3
    )
    rows = 100 if quick else 1_000
    _compare(report, folder, tools[:-1], f"a CSV of {rows:,} MB", lambda root: csv(root, rows), inserted, rounds=1)


def large(report: Report, folder: Path) -> None:
    """100,000 files and one of 5 GB, ours alone beside a plain copy."""
    tools: list[Tool] = [Ours(), Copy()]
    _compare(report, folder, tools, "100,000 files of 4 KB", lambda root: many(root, 100_000), one_file, rounds=1)
    _compare(report, folder, tools, "one file of 5,000 MB", lambda root: big(root, 5_000), one_block, rounds=1)


def _compare(
    report: Report,
    folder: Path,
    tools: list[Tool],
    what: str,
    fill: Callable[[Path], None],
    change: Callable[[Path], None],
    *,
    rounds: int,
) -> None:
    say(what)
    source = folder / "source"
    fill(source / "data")
    steps = ("add", "status", "status again", "add after one change", "checkout")
    taken: dict[str, dict[str, list[float]]] = {tool.says: {step: [] for step in steps} for tool in tools}
    grown: dict[str, list[float]] = {tool.says: [] for tool in tools}
    for _ in range(rounds):
        for tool in tools:
            root = folder / "root"
            shutil.copytree(source, root)
            os.sync()
            tool.begin(root)
            found = taken[tool.says]
            found["add"].append(timed(lambda tool=tool, root=root: tool.add(root)))
            first = tool.stored(root)
            found["status"].append(timed(lambda tool=tool, root=root: tool.status(root)))
            found["status again"].append(timed(lambda tool=tool, root=root: tool.status(root)))
            change(root / "data")
            found["add after one change"].append(timed(lambda tool=tool, root=root: tool.add(root)))
            grown[tool.says].append((tool.stored(root) - first) / 1e6)
            shutil.rmtree(root / "data")
            os.sync()
            found["checkout"].append(timed(lambda tool=tool, root=root: tool.checkout(root)))
            shutil.rmtree(root)
    shutil.rmtree(source)
    aims = _AIMS.get(what, {})
    for step in steps:
        ours, *others = (Figure(tool.says, taken[tool.says][step], "s") for tool in tools)
        report.add(f"{what}: {step}", ours, *others, aim=aims.get(step, ""))
    ours, *others = (Figure(tool.says, grown[tool.says], "MB") for tool in tools if tool.says != Copy.says)
    report.add(f"{what}: stored for the second version", ours, *others, aim=aims.get("stored", ""))


_AIMS = {
    "20,000 files of 4 KB": {
        "add": "1.0 s",
        "status": "0.15 s",
        "status again": "0.15 s",
        "add after one change": "0.25 s",
        "checkout": "1.2 x cp",
    },
    "one file of 2,000 MB": {"add": "2 s", "checkout": "1.2 x cp"},
    "a CSV of 1,000 MB": {"stored": "15 MB"},
}


def many(data: Path, files: int) -> None:
    draw = os.urandom(4096 + 8 * files)
    for number in range(files):
        path = data / f"d{number % 100:02}" / f"f{number}.bin"
        if number < 100:
            path.parent.mkdir(parents=True)
        path.write_bytes(draw[8 * number : 8 * number + 4096])


def one_file(data: Path) -> None:
    (data / "d00" / "f0.bin").write_bytes(os.urandom(4096))


def big(data: Path, megabytes: int) -> None:
    data.mkdir(parents=True)
    with (data / "big.bin").open("wb") as file:
        for _ in range(megabytes):
            file.write(os.urandom(1 << 20))


def one_block(data: Path) -> None:
    path = data / "big.bin"
    with path.open("r+b") as file:
        file.seek(path.stat().st_size // 2)
        file.write(os.urandom(1 << 20))


def csv(data: Path, megabytes: int) -> None:
    data.mkdir(parents=True)
    with (data / "table.csv").open("w") as file:
        for block in _rows(0, megabytes):
            file.write(block)


def inserted(data: Path) -> None:
    """One per cent of rows more, as one block in the middle."""
    old, new = data / "table.csv", data / "new.csv"
    size = old.stat().st_size
    with old.open() as reader, new.open("w") as writer:
        left = size // 2
        for line in reader:
            writer.write(line)
            left -= len(line)
            if left <= 0:
                break
        for block in _rows(1, size / 1e8):
            writer.write(block)
        shutil.copyfileobj(reader, writer)
    new.replace(old)


def _rows(seed: int, megabytes: float) -> Iterator[str]:
    draw = random.Random(seed)
    base = [
        f"{draw.random():.9f},{draw.random():.9f},{draw.randint(0, 10**9)},{draw.choice('abcdefgh')}row"
        for _ in range(20_000)
    ]
    left, number = megabytes * 1e6, draw.randint(0, 10**6)
    while left > 0:
        number += 1
        block = "\n".join(f"{number}{place},{line}" for place, line in enumerate(base)) + "\n"
        yield block
        left -= len(block)


def size_of(folder: Path) -> int:
    total = 0
    stack = [str(folder)]
    while stack:
        for entry in os.scandir(stack.pop()):
            if entry.is_dir(follow_symlinks=False):
                stack.append(entry.path)
            else:
                total += entry.stat(follow_symlinks=False).st_size
    return total


def run(folder: Path, *command: str) -> None:
    done = subprocess.run(
        command, cwd=folder, env={**os.environ, **SILENT}, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}: {done.stderr[-2000:]}")
