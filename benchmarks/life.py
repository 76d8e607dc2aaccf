"""The demo from end to end: eight years of a model's life."""

from __future__ import annotations

import shutil
from pathlib import Path

from measure import Figure, Report, say, timed
from processes import PERENNIAL, command


def measure(report: Report, folder: Path, *, quick: bool) -> None:
    years = 2 if quick else 6
    place, taken = folder / "demo", list[float]()
    for number in range(3):
        say(f"the demo, {years} years, run {number + 1} of 3")
        taken.append(timed(lambda: command([*PERENNIAL, "demo", str(place), "--years", str(years)], folder)))
        shutil.rmtree(place)
    aim = "" if quick else "60 s"
    report.add(f"`perennial demo`, {years} years, whole command", Figure("Perennial", taken, "s"), aim=aim)
