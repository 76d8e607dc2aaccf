"""S16: load for a long time, with new versions coming in. A day is more than one waits for: minutes, and said so."""

from __future__ import annotations

import threading
import time
from typing import Any

import numpy as np
from traffic.asking import ask

from reliability.overload import capacity
from reliability.trial import Held, Trial

__all__ = ["soak"]

MINUTES, SHORT_MINUTES = 20.0, 0.5
EVERY_S = 10.0  # a new version, instead of every 10 minutes
CLIENTS = 32
FIRST = 1 / 3  # of the time, in which caches fill; the slope is that of the rest


def soak(trial: Trial) -> list[Held]:
    seconds = 60.0 * trial.seconds(MINUTES, SHORT_MINUTES)
    workspace = trial.workspace()
    arms = [trial.known(workspace, 1), trial.linear(workspace, 2)]
    workspace.desire(trial.endpoint(live=arms[0]))
    told: list[dict[str, Any]] = []
    with trial.start(workspace) as running:
        load = trial.load(running, versions=range(1, 3))
        rate = 0.5 * min(400.0, capacity(load, 16, 3.0))
        ends = time.monotonic() + seconds

        def loads() -> None:
            while (left := ends - time.monotonic()) > 1.0:
                told.append(
                    ask(trial.opened(load, rate, min(30.0, left), seed=len(told), clients=CLIENTS, warm=CLIENTS))
                )

        thread = threading.Thread(target=loads)
        thread.start()
        seen = list[tuple[float, dict[str, Any]]]()
        swaps = 0
        while thread.is_alive():
            swaps += 1
            workspace.desire(trial.endpoint(live=arms[swaps % 2]))
            workspace.applied(running)
            time.sleep(min(EVERY_S, max(0.1, ends - time.monotonic())))
            if swaps % 2 == 0:  # the same version each time
                seen.append((time.monotonic(), running.memory()))
        thread.join()
    kept = seen[int(len(seen) * FIRST) :]
    at = np.array([when for when, _ in kept])
    used = np.array([m["pss_mb"] for _, m in kept])
    slope = float(np.polyfit((at - at[0]) / 3600, used, 1)[0]) if len(kept) > 2 else float("nan")
    # Each connection of the load is one, and between two of its parts there are none: the fewest of each half tell.
    descriptors = [m["descriptors"] for _, m in kept]
    half = len(descriptors) // 2
    fewest = (min(descriptors[:half]), min(descriptors[half:])) if half else (0, 99)
    requests = sum(t["requests"] for t in told)
    bad = sum(t["failed"] + t["refused"] + t["wrong"] for t in told)
    length = f"{seconds / 60:g} minutes in place of 24 h, a new version every {EVERY_S:g} s in place of 10 min"
    return [
        Held(
            f"{length}: no 5xx, none lost, none wrong",
            f"{bad} of {requests:,} at {rate:,.0f}/s, {swaps} new versions",
            bad == 0,
        ),
        Held(
            "memory grows by at most 1 MB an hour (here: at most 0.2 MB for each new version)",
            f"{slope:+.1f} MB/h, {slope / 3600 * EVERY_S:+.3f} MB for each new version"
            + (f", at {used.mean():.0f} MB" if len(used) else ""),
            None if len(kept) < 5 else bool(slope / 3600 * EVERY_S <= 0.2),
        ),
        Held(
            "descriptors flat",
            f"at least {fewest[0]} in the first half, {fewest[1]} in the second" if half else "–",
            half > 0 and fewest[1] - fewest[0] <= 8,
        ),
    ]
