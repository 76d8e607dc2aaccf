"""The reconciler process: look, take the next step, say how far things are; for ever.

`python -m perennial.api.reconciler --workspace FOLDER`. It holds no state: killed at any moment, its successor reads
the records and goes on. In a simulated workspace it looks as soon as the clock has moved.
"""

from __future__ import annotations

import logging
import threading

from perennial.api.child import start
from perennial.clock import Micros
from perennial.errors import PerennialError
from perennial.renew.reconcile import Reconciler
from perennial.workspace import Workspace

__all__ = ["main"]

SIMULATED_PAUSE_S = 0.01
REAL_PAUSE_S = 0.5  # an approval or rollback by hand is taken up within a second
REPORT_EVERY_US = 60_000_000
_log = logging.getLogger("perennial.reconciler")


def main() -> None:
    """Run until told to stop."""
    ws, _ = start("perennial.api.reconciler", "reconciler")
    with ws:
        _run(ws, threading.Event())


def _run(ws: Workspace, stop: threading.Event) -> None:
    reconciler = Reconciler(ws)
    told: tuple[int, bool, str] | None = None
    while not stop.is_set():
        now = ws.clock.now()
        if ws.clock.is_simulated and told == (now, True, ""):
            stop.wait(SIMULATED_PAUSE_S)  # time stands still and everything due is done
            continue
        idle, problem = _look(reconciler, now)
        news = (now, idle, problem)
        is_due = told is None or told[1:] != news[1:] or ws.clock.is_simulated or now - told[0] >= REPORT_EVERY_US
        if is_due and told != news:
            ws.renew.report_pass(clock=now, idle=idle, problem=problem)
            told = news
        if not (ws.clock.is_simulated and idle):
            stop.wait(SIMULATED_PAUSE_S if ws.clock.is_simulated else REAL_PAUSE_S)


def _look(reconciler: Reconciler, now: Micros) -> tuple[bool, str]:
    try:
        waits_for = reconciler.look(now)
    except PerennialError as error:
        _log.warning("not now: %s", error)
        return False, str(error)
    except Exception as error:  # noqa: BLE001  # the boundary of the process: recorded, shown by `status`, tried again
        _log.exception("a pass failed")
        return False, f"{type(error).__name__}: {error}"
    return not waits_for, waits_for


if __name__ == "__main__":
    main()
