"""Live through the years: ask the running service, bring the answers later, and wait while the loop does its work.

The driver is the world and nothing else: it moves the clock, asks for predictions over HTTP, and delivers what people
really earned. Everything that is decided is decided by the process tree of `perennial up`, as in production. Time
stands still while it works, so what is decided does not depend on how quick the machine is, or on who is killed.
"""

from __future__ import annotations

import calendar
import io
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path

import polars as pl

from perennial.api import connect
from perennial.capture.predictions import LabelIn
from perennial.clock import Micros, parse_time
from perennial.demo.tree import Client, Up
from perennial.demo.world import TARGET, World
from perennial.errors import ConfigError, Failure
from perennial.renew.training import run_loop
from perennial.store.clockfile import create_clock
from perennial.store.files import LocalFiles
from perennial.store.workspace_folder import WorkspaceFolder, create_folder
from perennial.templates import write_template
from perennial.workspace import Workspace

__all__ = ["ENDPOINT", "known_by", "live_through", "make_project"]

ENDPOINT = "salary"
BATCH = 15  # people whose wages one request asks for: an office sends its interviews of a few days together
SETTLE_S = 180.0
LABEL_DELAY_MONTHS = 1

Say = Callable[[str], None]


def make_project(folder: Path, world: World) -> WorkspaceFolder:
    """The salary template, filled with the first two years, and a workspace whose clock stands after them.

    Raises:
        ConfigError: The folder exists and is not empty.
    """
    if folder.exists() and any(folder.iterdir()):
        raise ConfigError(
            f"{folder} is not empty",
            remedy="choose another folder with --folder, or remove this one",
        )
    write_template("salary", folder)
    _deliver(folder, "first-years", world.first_rows())
    start = _moment(world.months()[0])
    workspace = create_folder(folder / ".perennial", now=start, simulated=True)
    create_clock(workspace.clock, start)
    return workspace


def live_through(project: Path, workspace: WorkspaceFolder, world: World, say: Say) -> None:
    """Train and deploy the first version, then live through every month of the world."""
    months = world.months()
    with connect.open(workspace.root, origin="demo") as ws:
        outcome = run_loop(ws, project, None, say)
        say(f"version {outcome.version} is trained on {len(world.first_rows())} people of the first two years")
    with Up(project, workspace) as up, connect.join(workspace, origin="demo") as ws:
        client = Client(workspace, up)
        _settle(ws, up)
        waiting: list[tuple[date, list[LabelIn]]] = []
        for month in months:
            while waiting and _months_between(waiting[0][0], month) >= LABEL_DELAY_MONTHS:
                _bring(ws, project, world, *waiting.pop(0))
            waiting.append((month, _ask(client, world, month)))
            ws.system.set_clock(now=_moment(_next(month)))
            _settle(ws, up)
            if month.month == 12:
                say(f"{month.year} is over: version {ws.endpoints.get(name=ENDPOINT).live} is live")
        last = _next(months[-1])
        for month, labels in waiting:
            _bring(ws, project, world, month, labels)
            last = _next(last)
            ws.system.set_clock(now=_moment(last))
            _settle(ws, up)
        client.close()


def known_by(day: date) -> date:
    """When the wage of somebody who was asked in this month is known: with the first day of the next."""
    return _next(day.replace(day=1))


def _ask(client: Client, world: World, month: date) -> list[LabelIn]:
    """Ask for everybody's prediction; what they really earned, by the prediction it belongs to."""
    truth = world.answers(month)
    asked = world.asked(month).with_columns(pl.col("date").cast(pl.String))
    labels: list[LabelIn] = []
    for start in range(0, len(asked), BATCH):
        batch = asked[start : start + BATCH]
        answers = client.predict(ENDPOINT, batch.to_dicts(), key=f"{month.isoformat()}/{start}")
        earned = truth[TARGET][start : start + BATCH].to_list()
        labels += [
            LabelIn(prediction_id=answer["id"], value=value) for answer, value in zip(answers, earned, strict=True)
        ]
    return labels


def _bring(ws: Workspace, project: Path, world: World, month: date, labels: list[LabelIn]) -> None:
    """The answers of a month become known: as labels of the predictions, and as new rows for the next training."""
    ws.predictions.label(endpoint=ENDPOINT, labels=labels, key=f"labels/{month.isoformat()}")
    _deliver(project, month.isoformat()[:7], world.answers(month))


def _deliver(project: Path, name: str, rows: pl.DataFrame) -> None:
    buffer = io.BytesIO()
    rows.write_parquet(buffer)
    disk = LocalFiles()
    disk.mkdirs(project / "data")
    disk.write_atomic(project / "data" / f"{name}.parquet", buffer.getvalue())


def _settle(ws: Workspace, up: Up) -> None:
    """Wait until everything that is due by now is done."""
    ends = time.monotonic() + SETTLE_S
    now = ws.clock.now()
    wait = 0.005
    while True:
        done = ws.renew.last_pass()
        if done is not None and done.clock == now and done.idle:
            return
        if time.monotonic() > ends:
            problem = done.problem if done is not None else "the reconciler has not reported yet"
            raise Failure(f"nothing settles: {problem}", where=str(ws.folder.logs), remedy="read the logs there")
        up.check()
        time.sleep(wait)
        wait = min(wait * 1.5, 0.1)


def _moment(day: date) -> Micros:
    return parse_time(day.isoformat())


def _next(month: date) -> date:
    days = calendar.monthrange(month.year, month.month)[1]
    return date.fromordinal(month.toordinal() + days)


def _months_between(first: date, second: date) -> int:
    return (second.year - first.year) * 12 + second.month - first.month
