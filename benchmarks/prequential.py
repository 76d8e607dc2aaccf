"""A stream learned label by label, and begun anew at each alarm: our detector beside ADWIN on Elec2.

    python benchmarks/prequential.py [--detectors none ADWIN "SR 1e3" ...]

Test, then train: each of 45,312 half hours is answered by a Hoeffding tree (river's, with its defaults, in an
environment of the peers), then learned. After an alarm on its errors a new tree begins, and the detector with it. Ours
learns its bound from the first errors of each tree, by the interval that it uses everywhere. Prints accuracy, resets,
and Cohen's kappa against the labels beside that of "as half an hour before", which is what the labels of this stream
mostly do. No times.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
DATA = HERE.parents[1] / "shared" / "data" / "elec2" / "electricity.csv.gz"
RIVER = "river==0.26.1"
BOUND_ROWS = 500  # errors of a new tree from which the bound of its error rate is learned
DETECTORS = ("none", "ADWIN", "SR 1e2", "SR 1e3", "SR 1e4", "SR 1e5")
PUBLISHED = (
    ("best without labels, at most 20 resets", 0.8088),
    ("best without labels, at most 100 resets", 0.8294),
    ("best without labels, 537 resets", 0.8552),
)  # Lukats et al. (2024), International Journal of Data Science and Analytics, raw results, Hoeffding tree


def main(words: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--detectors", nargs="+", choices=DETECTORS, default=DETECTORS)
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args(words)
    if options.inside:
        for name in options.detectors:
            print(json.dumps({"detector": name, **measured(name)}), flush=True)
        return 0
    from peers import python_of

    python = python_of("river", RIVER)
    if python is None:
        return 1
    # Of ours it needs the statistics alone, which need numpy and scipy alone.
    env = os.environ | {"PYTHONPATH": str(HERE.parent / "src")}
    command = [str(python), str(Path(__file__)), "--inside", "--detectors", *options.detectors]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=True)
    print(table([json.loads(line) for line in done.stdout.splitlines()]))
    return 0


def table(found: Sequence[dict[str, Any]]) -> str:
    lines = ["| a new tree at each alarm of | accuracy | resets | kappa |", "|---|---|---|---|"]
    lines += [f"| {one['detector']} | {one['accuracy']:.4f} | {one['resets']} | {one['kappa']:.3f} |" for one in found]
    lines.append(f"| (as half an hour before, no model) | {found[0]['same']:.4f} | | {found[0]['same_kappa']:.3f} |")
    lines += [f"| published: {name} | {value:.4f} | | |" for name, value in PUBLISHED]
    return "\n".join(lines)


def measured(detector: str) -> dict[str, float]:
    from river import tree

    rows, labels = _stream()
    model, alarmed = tree.HoeffdingTreeClassifier(), _watch(detector)
    answers: list[bool] = []
    resets = 0
    for x, y in zip(rows, labels, strict=True):
        answer = bool(model.predict_one(x))  # a tree that has seen nothing says no
        answers.append(answer)
        model.learn_one(x, y)
        if alarmed(float(answer != y)):
            model, alarmed = tree.HoeffdingTreeClassifier(), _watch(detector)
            resets += 1
    before = [labels[0], *labels[:-1]]
    return {
        "accuracy": _accuracy(answers, labels),
        "kappa": _kappa(answers, labels),
        "resets": resets,
        "same": _accuracy(before[1:], labels[1:]),
        "same_kappa": _kappa(before[1:], labels[1:]),
    }


def _watch(detector: str) -> Callable[[float], bool]:
    """What is told each error of a tree and says when to begin anew."""
    if detector == "none":
        return lambda error: False
    if detector == "ADWIN":
        from river import drift

        adwin = drift.ADWIN()

        def by_adwin(error: float) -> bool:
            adwin.update(error)
            return adwin.drift_detected

        return by_adwin
    from perennial.stats.edetector import Design, State, update
    from perennial.stats.means import upper_bound

    threshold = float(detector.split()[1])
    first: list[float] = []
    design: Design | None = None
    state: State | None = None

    def by_bets(error: float) -> bool:
        nonlocal design, state
        if design is None or state is None:
            first.append(error)
            if len(first) == BOUND_ROWS:
                design = Design.above(upper_bound(first).high, threshold=threshold)
                state = design.start()
            return False
        step = update(design, state, [error])
        state = step.state
        return step.alarm is not None

    return by_bets


def _stream() -> tuple[list[dict[str, float]], list[bool]]:
    with gzip.open(DATA, "rt") as file:
        table = list(csv.DictReader(file))
    names = [name for name in table[0] if name != "class"]
    return [{name: float(row[name]) for name in names} for row in table], [row["class"] == "UP" for row in table]


def _accuracy(answers: Sequence[bool], labels: Sequence[bool]) -> float:
    return sum(a == y for a, y in zip(answers, labels, strict=True)) / len(labels)


def _kappa(answers: Sequence[bool], labels: Sequence[bool]) -> float:
    n, said, true = len(labels), sum(answers), sum(labels)
    chance = (said * true + (n - said) * (n - true)) / n**2
    return (_accuracy(answers, labels) - chance) / (1.0 - chance)


if __name__ == "__main__":
    sys.exit(main())
