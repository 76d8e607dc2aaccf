"""The reconciler process: look, take the next step, say how far things are; for ever.

`python -m perennial.api.reconciler --workspace FOLDER`. It holds no state: killed at any moment, its successor reads
the records and goes on. In a simulated workspace it looks as soon as the clock has moved.
"""

from __future__ import annotations

import logging
import socket
import threading
import time

from perennial.api.child import start
from perennial.api.client import HeldLease
from perennial.clock import Micros
from perennial.errors import PerennialError
from perennial.monitor.incidents.delivery import Courier
from perennial.monitor.incidents.senders import senders_of
from perennial.renew.reconcile import Reconciler
from perennial.renew.retraining import LEAD, LEAD_TTL_S
from perennial.tracking.left import Sent
from perennial.workspace import Workspace

__all__ = ["main", "send_notices", "send_what_is_left"]

SIMULATED_PAUSE_S = 0.01
LONGEST_PAUSE_S = 0.16  # where time stands still and the same is waited for: a training needs the processor
REAL_PAUSE_S = 0.5  # an approval or rollback by hand is taken up within a second
REPORT_EVERY_US = 60_000_000
NOTICES_EVERY_S = 1.0  # how long a notice waits for its first attempt
LEFT_EVERY_S = 10.0  # what processes that died had logged is there so soon
_log = logging.getLogger("perennial.reconciler")


def main() -> None:
    """Run until told to stop, or until another one leads."""
    held = HeldLease(LEAD)
    ws, _ = start("perennial.api.reconciler", "reconciler", lease=held)
    stop = threading.Event()
    threading.Thread(target=send_what_is_left, args=(ws, stop), name="perennial-send-left", daemon=True).start()
    threading.Thread(target=send_notices, args=(ws, held, stop), name="perennial-notices", daemon=True).start()
    with ws:
        _run(ws, _Lead(ws, held), stop)


class _Lead:
    """The right to decide, renewed in time. What is written without it is refused by the owner."""

    def __init__(self, ws: Workspace, held: HeldLease) -> None:
        self._ws = ws
        self._held = held
        # One name for each machine: who comes after a killed one need not wait for the end of its term.
        self._holder = f"{socket.gethostname()}:reconciler"
        self._since = 0.0

    def is_held(self) -> bool:
        """Whether this process leads now; False while it waits for another one's term to end.

        Raises:
            Conflict: It led, and another one does now.
        """
        if self._held.epoch and time.monotonic() - self._since < LEAD_TTL_S / 3:
            return True
        if self._held.epoch:
            self._ws.renew.keep_lead(holder=self._holder, epoch=self._held.epoch)
        else:
            self._held.epoch = self._ws.renew.lead(holder=self._holder) or 0
        self._since = time.monotonic()
        return bool(self._held.epoch)


def _run(ws: Workspace, lead: _Lead, stop: threading.Event) -> None:
    reconciler = Reconciler(ws)
    told: tuple[int, bool, str] | None = None
    pause_s = SIMULATED_PAUSE_S
    while not stop.is_set():
        if not lead.is_held():
            stop.wait(REAL_PAUSE_S)
            continue
        now = ws.clock.now()
        if ws.clock.is_simulated and told == (now, True, ""):
            stop.wait(SIMULATED_PAUSE_S)  # time stands still and everything due is done
            continue
        idle, problem = _look(reconciler, now)
        news = (now, idle, problem)
        pause_s = min(pause_s * 2, LONGEST_PAUSE_S) if told == news else SIMULATED_PAUSE_S
        is_due = told is None or told[1:] != news[1:] or ws.clock.is_simulated or now - told[0] >= REPORT_EVERY_US
        if is_due and told != news:
            ws.renew.report_pass(clock=now, idle=idle, problem=problem)
            told = news
        if not (ws.clock.is_simulated and idle):
            stop.wait(pause_s if ws.clock.is_simulated else REAL_PAUSE_S)


def send_what_is_left(ws: Workspace, stop: threading.Event) -> None:
    """Send what was logged by processes that died before it arrived. Beside the passes, since it may be much."""
    while True:
        done: Sent = ws.runs.send_left()
        if done.spools or done.problem:
            counted = f"{done.stored} points stored, {done.refused} refused, {done.waiting} spools wait"
            _log.info("sent what %d processes left: %s %s", done.spools, counted, done.problem)
        if stop.wait(LEFT_EVERY_S):
            return


def send_notices(ws: Workspace, held: HeldLease, stop: threading.Event) -> None:
    """Carry out what waits in the outbox while this process leads. Beside the passes: receivers may be slow."""
    courier: Courier | None = None
    while not stop.wait(NOTICES_EVERY_S):
        if not held.epoch:
            continue
        try:
            courier = courier or Courier(ws.notices, senders_of(ws.settings, ws.clock))
            courier.go()
        except Exception:  # noqa: BLE001  # the boundary of the thread: recorded, and tried again
            _log.exception("notices could not be sent")


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
