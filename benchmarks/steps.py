"""Turns of a loop: one that changes nothing, and ten trivial steps beside what other pipelines need for ten."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import peers
import salary
from measure import Figure, Report, alternating, say, timed
from processes import PERENNIAL, PYTHON, command

STEPS = 10
IMPORTED = "numpy, polars, pyarrow, sqlalchemy"  # what an unchanged turn needs of others


class Flow(NamedTuple):
    """One tool's ten steps: makes a folder with them; the command that runs them there."""

    who: str
    make: Callable[[Path], Sequence[str]]


def measure(report: Report, folder: Path, *, quick: bool) -> None:
    project = salary.make_project(folder / "salary")
    say("the first turn of the salary loop")
    salary.run(project)
    _unchanged(report, project, 3 if quick else 7)
    _ten_steps(report, folder, 3)


def _unchanged(report: Report, project: Path, rounds: int) -> None:
    taken = alternating(
        rounds,
        1,
        {
            "ours": lambda: command([*PERENNIAL, "run"], project),
            "imports": lambda: command([PYTHON, "-c", f"import {IMPORTED}"], project),
        },
    )
    report.add(
        "`perennial run` in an unchanged salary project, whole command",
        Figure("Perennial", taken["ours"], "s"),
        Figure(f"`import {IMPORTED}`", taken["imports"], "s"),
        aim="1.5 s",
    )


def _ten_steps(report: Report, folder: Path, rounds: int) -> None:
    flows = [Flow("Perennial", _perennial), Flow("a script with a table in SQLite", _script), *_peers()]
    first: dict[str, list[float]] = {flow.who: [] for flow in flows}
    again: dict[str, list[float]] = {flow.who: [] for flow in flows}
    for number in range(rounds + 1):
        for flow in flows:
            say(f"ten steps, round {number} of {rounds}: {flow.who}")
            place = folder / f"steps-{number}"
            place.mkdir()
            words = flow.make(place)

            def once(words: Sequence[str] = words, place: Path = place) -> None:
                command(words, place, HOME=str(place), **peers.SILENT)

            seconds = [timed(once) for _ in range(3)]
            if number:  # the first one warms up
                first[flow.who].append(seconds[0])
                again[flow.who] += seconds[1:]
            shutil.rmtree(place)
    for says, taken, aim in (("first", first, "0.5 s"), ("again", again, "0.25 s")):
        figures = [Figure(who, values, "s") for who, values in taken.items()]
        report.add(f"{STEPS} trivial steps, whole command, {says}", *figures, aim=aim)


def _perennial(folder: Path) -> Sequence[str]:
    """One collects, eight pass a table on, one trains: a model that answers the mean. It is packed and judged too."""
    names = ["rows", *(f"s{i}" for i in range(1, STEPS - 1))]
    steps = "".join(f"@loop.step\ndef {name}({before}):\n    return {before}\n\n\n" for before, name in pairwise(names))
    text = f"""import polars as pl
from sklearn.dummy import DummyRegressor

from perennial import Loop, retrain

loop = Loop("steps", target="y")


@loop.collect
def rows():
    return pl.DataFrame({{"x": range(100), "y": [float(i) for i in range(100)]}})


{steps}@loop.train
def model(X, y):
    return DummyRegressor().fit(X, y)


loop.retrain(retrain.never())
"""
    (folder / "loop.py").write_text(text, encoding="utf-8")
    return [*PERENNIAL, "run"]


def _script(folder: Path) -> Sequence[str]:
    """The least: a key for each step, its result kept under it, each step committed."""
    text = f"""import hashlib
import sqlite3

table = sqlite3.connect("kept.db", isolation_level=None)
table.execute("pragma journal_mode=wal")
table.execute("pragma synchronous=full")
table.execute("create table if not exists kept (key text primary key, value integer)")
value = 0
for step in range({STEPS}):
    key = hashlib.sha256(b"%d %d" % (step, value)).hexdigest()
    found = table.execute("select value from kept where key = ?", (key,)).fetchone()
    if found is None:
        table.execute("insert into kept values (?, ?)", (key, value + 1))
    value = found[0] if found else value + 1
"""
    (folder / "script.py").write_text(text, encoding="utf-8")
    return [PYTHON, "script.py"]


def _peers() -> list[Flow]:
    flows: list[Flow] = []
    light = peers.python_of("light", "luigi", "sf-hamilton")
    if light is not None:
        flows += [
            Flow(f"luigi {peers.version_of(light, 'luigi')}", lambda place: _luigi(light, place)),
            Flow(f"Hamilton {peers.version_of(light, 'sf-hamilton')}", lambda place: _hamilton(light, place)),
        ]
    dvc = peers.python_of("dvc", "dvc")
    if dvc is not None and shutil.which("git"):
        flows.append(Flow(f"DVC {peers.version_of(dvc, 'dvc')}", lambda place: _dvc(dvc, place)))
    return flows


def _luigi(python: Path, folder: Path) -> Sequence[str]:
    text = f"""import luigi


class Step(luigi.Task):
    number = luigi.IntParameter()

    def requires(self):
        return [Step(self.number - 1)] if self.number else []

    def output(self):
        return luigi.LocalTarget(f"made/{{self.number}}")

    def run(self):
        with self.output().open("w") as out:
            out.write(str(self.number))


assert luigi.build([Step({STEPS - 1})], local_scheduler=True, log_level="ERROR")
"""
    (folder / "flow.py").write_text(text, encoding="utf-8")
    return [str(python), "flow.py"]


def _hamilton(python: Path, folder: Path) -> Sequence[str]:
    rest = (f"def step{i}(step{i - 1}: int) -> int:\n    return step{i - 1} + 1\n" for i in range(1, STEPS))
    (folder / "steps.py").write_text("def step0() -> int:\n    return 0\n" + "".join(rest), encoding="utf-8")
    text = f"""import steps
from hamilton import driver

made = driver.Builder().with_modules(steps).with_cache().build().execute(["step{STEPS - 1}"])
assert made["step{STEPS - 1}"] == {STEPS - 1}, made
"""
    (folder / "flow.py").write_text(text, encoding="utf-8")
    return [str(python), "flow.py"]


def _dvc(python: Path, folder: Path) -> Sequence[str]:
    dvc = str(python.with_name("dvc"))
    stages = (f"  s{i}:\n    cmd: cp f{i} f{i + 1}\n    deps: [f{i}]\n    outs: [f{i + 1}]\n" for i in range(STEPS))
    (folder / "dvc.yaml").write_text("stages:\n" + "".join(stages), encoding="utf-8")
    (folder / "f0").write_text("0", encoding="utf-8")
    subprocess.run(["git", "init", "--quiet"], cwd=folder, check=True)
    command([dvc, "init", "--quiet"], folder, HOME=str(folder), **peers.SILENT)
    return [dvc, "repro", "--quiet"]
