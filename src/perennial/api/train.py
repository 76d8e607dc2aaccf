"""One training in a process of its own: `python -m perennial.api.train --workspace FOLDER --job ID --epoch N`.

It runs the user's code from the stored bundle, never from the work tree, and reports under its epoch, so that an
attempt that was given up cannot speak for the one that took its place.
"""

from __future__ import annotations

import logging

from perennial.api.child import start
from perennial.errors import Conflict, NotFound, PerennialError, StoreError, Unavailable
from perennial.renew.retraining import Job
from perennial.renew.training import run_job
from perennial.workspace import Workspace

__all__ = ["main"]

_log = logging.getLogger("perennial.train")


def main() -> None:
    """Train, and report what came of it."""
    ws, asked = start("perennial.api.train", "jobs", "--job", "--epoch")
    epoch = int(asked.epoch)
    with ws:
        job = _job(ws, asked.job)
        try:
            result = run_job(ws, job, _log.info)
        except (Conflict, StoreError, Unavailable):
            raise  # another attempt was quicker, or the store is away: for the runner to try again
        except PerennialError as error:
            ws.renew.fail_job(id=job.id, epoch=epoch, error=str(error))
        except Exception as error:  # noqa: BLE001  # the boundary of the process: recorded, as another try would end alike
            _log.exception("the training failed")
            ws.renew.fail_job(id=job.id, epoch=epoch, error=f"{type(error).__name__}: {error}")
        else:
            ws.renew.finish_job(id=job.id, epoch=epoch, result=result)


def _job(ws: Workspace, job: str) -> Job:
    for found in ws.renew.jobs(state="running"):
        if found.id == job:
            return found
    raise NotFound(f"there is no running job {job}")


if __name__ == "__main__":
    main()
