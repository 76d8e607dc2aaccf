"""The job runner: takes trainings from the queue and runs each in a process of its own.

`python -m perennial.api.jobs --workspace FOLDER`. A training that dies is tried again under a higher epoch; one whose
runner died is taken over by the next runner, and what the dead attempt might still say is refused.
"""

from __future__ import annotations

import argparse
import logging
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

from perennial.api import connect
from perennial.errors import PerennialError
from perennial.renew.retraining import Job
from perennial.store.workspace_folder import open_folder
from perennial.supervise.parent import die_with_parent
from perennial.tracking.process import process_lives, process_name
from perennial.workspace import Workspace

__all__ = ["main"]

PAUSE_S = 0.1
_log = logging.getLogger("perennial.jobs")


def main() -> None:
    """Run until told to stop."""
    parser = argparse.ArgumentParser(prog="python -m perennial.api.jobs")
    parser.add_argument("--workspace", type=Path, required=True)
    parser.add_argument("--die-with-parent", action="store_true")
    asked = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    if asked.die_with_parent:
        die_with_parent(lambda: os._exit(0))
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))  # the training sees the end of its input and stops as well
    with connect.join(open_folder(asked.workspace), origin="jobs") as ws:
        _run(ws, threading.Event())


def _run(ws: Workspace, stop: threading.Event) -> None:
    holder = process_name()
    while not stop.is_set():
        try:
            # To look costs a read; to claim, a transaction.
            job = ws.renew.claim(holder=holder, gone=_gone(ws, holder)) if ws.renew.jobs(state="open") else None
        except PerennialError as error:
            _log.warning("not now: %s", error)
            job = None
        if job is None or job.state != "running":
            stop.wait(PAUSE_S)
        else:
            _train(ws, job)


def _train(ws: Workspace, job: Job) -> None:
    _log.info("training %s, attempt %d: %s", job.loop, job.epoch, job.reason)
    argv = [sys.executable, "-m", "perennial.api.train", "--workspace", str(ws.folder.root)]
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


def _gone(ws: Workspace, holder: str) -> list[str]:
    """Holders of running jobs that run no more; our own name among them, since we are between two trainings."""
    held = {job.holder for job in ws.renew.jobs(state="running") if job.holder}
    return sorted(name for name in held if name == holder or not process_lives(name))


if __name__ == "__main__":
    main()
