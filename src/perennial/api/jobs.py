"""The job runner: takes trainings from the queue and runs each in a process of its own.

`python -m perennial.api.jobs --workspace FOLDER`. A training that dies is tried again under a higher epoch; one whose
runner died is taken over by the next runner, and what the dead attempt might still say is refused.
"""

from __future__ import annotations

import logging
import subprocess
import sys
import threading

from perennial.api.child import start
from perennial.errors import PerennialError
from perennial.renew.retraining import Job
from perennial.tracking.process import process_lives, process_name
from perennial.workspace import Workspace

__all__ = ["main"]

SIMULATED_PAUSE_S, REAL_PAUSE_S = 0.1, 0.5
AGAIN_S = 0.5  # before a training that died is tried again
_log = logging.getLogger("perennial.jobs")


def main() -> None:
    """Run until told to stop."""
    ws, _ = start("perennial.api.jobs", "jobs")
    with ws:
        _run(ws, threading.Event())


def _run(ws: Workspace, stop: threading.Event) -> None:
    holder = process_name()
    pause_s = SIMULATED_PAUSE_S if ws.clock.is_simulated else REAL_PAUSE_S
    while not stop.is_set():
        try:
            # To look costs a read; to claim, a transaction.
            job = ws.renew.claim(holder=holder, gone=_gone(ws, holder)) if ws.renew.jobs(state="open") else None
        except PerennialError as error:
            _log.warning("not now: %s", error)
            job = None
        if job is None or job.state != "running":
            stop.wait(pause_s)
        elif not _train(ws, job):
            stop.wait(AGAIN_S)


def _train(ws: Workspace, job: Job) -> bool:
    """Run the training in a process of its own; whether that came to its end, well or not, and said so."""
    _log.info("training %s, attempt %d: %s", job.loop, job.epoch, job.reason)
    argv = [sys.executable, "-m", "perennial.api.train", "--workspace", str(ws.folder.root), "--die-with-parent"]
    # Its input stays open as long as this process lives, which is how it notices our death.
    with subprocess.Popen([*argv, "--job", job.id, "--epoch", str(job.epoch)], stdin=subprocess.PIPE) as process:
        try:
            process.wait(ws.settings.job_timeout_s)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            error = f"it took longer than job_timeout_s ({ws.settings.job_timeout_s:g} s)"
            ws.renew.fail_job(id=job.id, epoch=job.epoch, error=error)
    _log.info("training %s, attempt %d, ended with %d", job.loop, job.epoch, process.returncode)
    return process.returncode == 0


def _gone(ws: Workspace, holder: str) -> list[str]:
    """Holders of running jobs that run no more; our own name among them, since we are between two trainings."""
    held = {job.holder for job in ws.renew.jobs(state="running") if job.holder}
    return sorted(name for name in held if name == holder or not process_lives(name))


if __name__ == "__main__":
    main()
