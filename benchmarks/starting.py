"""What it costs to begin: the import, the smallest command, the process tree."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from measure import Figure, Report, alternating
from processes import PERENNIAL, PYTHON, command, up


def measure(report: Report, folder: Path, *, quick: bool) -> None:
    rounds = 8 if quick else 20

    def run(*words: str) -> Callable[[], object]:
        return lambda: command(words, folder)

    commands = {
        "pass": run(PYTHON, "-c", "pass"),
        "import": run(PYTHON, "-c", "import perennial"),
        "version": run(*PERENNIAL, "--version"),
    }
    taken = alternating(rounds, 2, commands)
    bare = Figure("`python -c pass`", [s * 1e3 for s in taken["pass"]], "ms")
    alone = Figure("Perennial", [_import_ms(folder) for _ in range(rounds)], "ms")
    report.add("`import perennial` (`-X importtime`)", alone, aim="60 ms")
    report.add(
        "`python -c 'import perennial'`, whole process",
        Figure("Perennial", [s * 1e3 for s in taken["import"]], "ms"),
        bare,
    )
    version = Figure("Perennial", [s * 1e3 for s in taken["version"]], "ms")
    report.add("`perennial --version`, whole process", version, bare, aim="200 ms")
    _tree(report, folder, 3 if quick else 5)


def _import_ms(folder: Path) -> float:
    told = command([PYTHON, "-X", "importtime", "-c", "import perennial"], folder).stderr
    found = re.search(r"\|\s+(\d+) \| perennial$", told, re.MULTILINE)
    assert found is not None, told
    return int(found[1]) / 1e3


def _tree(report: Report, folder: Path, rounds: int) -> None:
    """An empty workspace, from the command to the moment when everything answers; then its memory."""
    started, owner, whole = list[float](), list[float](), list[float]()
    for number in range(rounds + 1):
        with up(_made(folder / f"tree-{number}")) as server:
            used = server.memory_mb()
        if number:  # the first one warms up
            started.append(server.start_s)
            owner.append(used["perennial.api.server"])
            whole.append(sum(used.values()))
    report.add("`perennial up`, empty workspace, until all answers", Figure("Perennial", started, "s"), aim="1 s")
    report.add("memory of its owner process (PSS)", Figure("Perennial", owner, "MB"), aim="150 MB")
    report.add("memory of the whole tree, no model (PSS)", Figure("Perennial", whole, "MB"))


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True)
    return folder
