"""One training in a process of its own: `python -m perennial.api.train --workspace FOLDER --job ID --epoch N`.

It runs the user's code from the stored bundle, never from the work tree, and reports under its epoch, so that an
attempt that was given up cannot speak for the one that took its place.
"""

from __future__ import annotations

import argparse
import logging
import os
from pathlib import Path

from perennial.api import connect
from perennial.errors import Conflict, LoopError, NotFound, PerennialError
from perennial.renew.retraining import Job
from perennial.renew.training import run_job
from perennial.store.workspace_folder import open_folder
from perennial.supervise.parent import die_with_parent
from perennial.workspace import Workspace

__all__ = ["main"]

_log = logging.getLogger("perennial.train")


def main() -> None:
    """Train, and report what came of it."""
    parser = argparse.ArgumentParser(prog="python -m perennial.api.train")
    parser.add_argument("--workspace", type=Path, required=True)
    parser.add_argument("--job", required=True)
    parser.add_argument("--epoch", type=int, required=True)
    asked = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    die_with_parent(lambda: os._exit(0))
    with connect.join(open_folder(asked.workspace), origin="jobs") as ws:
        job = _job(ws, asked.job)
        try:
            result = run_job(ws, job, _log.info)
        except Conflict:
            raise  # another attempt was quicker, or the owner changed: nothing of ours to report
        except (PerennialError, LoopError) as error:
            ws.renew.fail_job(id=job.id, epoch=asked.epoch, error=str(error))
        else:
            ws.renew.finish_job(id=job.id, epoch=asked.epoch, result=result)


def _job(ws: Workspace, job: str) -> Job:
    for found in ws.renew.jobs(state="running"):
        if found.id == job:
            return found
    raise NotFound(f"there is no running job {job}")


if __name__ == "__main__":
    main()
