"""S15: everything that the service does not need for an answer is taken away from it."""

from __future__ import annotations

import time
from pathlib import Path

from traffic.asking import Asking, ask

from reliability.trial import Held, Trial, ms

__all__ = ["everything_away"]


def everything_away(trial: Trial) -> list[Held]:
    """All of the workspace but the service's own folder is moved away under load; then the service starts without it.

    There is no owner, database or monitor beside this service from the beginning, which is the other half of it.
    """
    workspace = trial.workspace()
    workspace.desire(
        trial.endpoint(live=trial.linear(workspace, 1)), trial.endpoint("code", live=trial.known(workspace, 2))
    )
    seconds = trial.seconds(30.0, 6.0)
    found = list[Held]()
    with trial.start(workspace) as running:
        load = trial.opened(trial.load(running), 300.0, seconds)
        with_all = ask(load)
        moved = _away(workspace.folder)
        try:
            with Asking(load) as asking:
                time.sleep(seconds / 2)
                health, told_health, _ = running.send("GET", "/health")
                alone = asking.result()
        finally:
            _back(moved)
        lost = alone["failed"] + alone["refused"] + alone["wrong"]
        ratio = alone["accepted"]["p99"] / with_all["accepted"]["p99"]
        found.append(
            Held(
                "no database, no owner, no monitor, the object store away: 100 % answers, p99 at most 1.2 x",
                f"{lost} lost of {alone['requests']:,}; {ratio:.2f} x ({ms(with_all['accepted']['p99'])} to "
                f"{ms(alone['accepted']['p99'])}); /health {health} {told_health[:80]!r}",
                lost == 0 and ratio <= 1.2,
            )
        )
    moved = _away(workspace.folder)
    try:
        began = time.perf_counter()
        with trial.start(workspace) as running:
            took = time.perf_counter() - began
            both = running.answers("wage", {"x": 1.0}) and running.answers("code", {"x": 1.0})
        found.append(
            Held(
                "a start without all that, from the service's own verified copies",
                f"ready after {took:.1f} s, {'answers' if both else 'does not answer'}",
                both,
            )
        )
    finally:
        _back(moved)
    return found


def _away(folder: Path) -> list[tuple[Path, Path]]:
    """Move everything in the workspace but the service's own folder."""
    moved = list[tuple[Path, Path]]()
    for path in list(folder.iterdir()):
        if path.name not in ("serving", "service.log"):
            aside = folder.with_name(f"{folder.name}-away-{path.name}")
            path.rename(aside)
            moved.append((path, aside))
    return moved


def _back(moved: list[tuple[Path, Path]]) -> None:
    for path, aside in moved:
        aside.rename(path)
