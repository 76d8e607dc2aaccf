"""The demo from end to end: live through the years, then tell what happened."""

from __future__ import annotations

import io
import shutil
import sys
import time
from pathlib import Path

import msgspec
import polars as pl

from perennial.api import connect
from perennial.demo.drive import live_through, make_project
from perennial.demo.facts import Facts
from perennial.demo.report import render
from perennial.demo.story import tell
from perennial.demo.world import YEARS, World
from perennial.errors import ConfigError
from perennial.store.files import LocalFiles

__all__ = ["run"]

NAMES = {"never": "never retrain", "loop": "this loop", "yearly": "every year"}


def run(folder: Path, *, seed: int, years: int, stationary: bool, as_json: bool) -> int:
    """Run it and leave the project, its workspace and the report in `folder`.

    Raises:
        ConfigError: The folder is not empty, or there are not that many years.
    """
    began = time.monotonic()
    if not 1 <= years <= len(YEARS) - 2:
        raise ConfigError(f"{years} years cannot come in", remedy=f"choose 1 to {len(YEARS) - 2} with --years")
    span = YEARS[: years + 2]
    world = World(seed, span, stationary=stationary)

    def say(text: str) -> None:
        sys.stderr.write(f"[{time.monotonic() - began:5.1f} s] {text}\n")
        sys.stderr.flush()

    say(f"a project and its data: {folder}")
    folder = folder.absolute()
    workspace = make_project(folder, world)
    live_through(folder, workspace, world, say)
    say("what would other policies have answered?")
    with connect.open(workspace.root, origin="demo") as ws:
        facts, rows = tell(ws, seed, list(span), stationary=stationary)
    _write(folder, facts, rows)
    say("done")
    if as_json:
        sys.stdout.write(msgspec.json.encode(facts).decode() + "\n")
    else:
        sys.stdout.write(_closing(facts, folder))
    return 0


def _write(folder: Path, facts: Facts, rows: pl.DataFrame) -> None:
    disk = LocalFiles()
    buffer = io.BytesIO()
    rows.write_parquet(buffer)
    disk.write_atomic(folder / "policies.parquet", buffer.getvalue())
    disk.write_atomic(folder / "facts.json", msgspec.json.format(msgspec.json.encode(facts)))
    render(facts, folder / "report.html")


def _closing(facts: Facts, folder: Path) -> str:
    shown = {"drop", "trained", "refused", "live", "rolled_back", "retrain: retrain"}
    lines = ["", f"{facts.title}, {facts.began} to {facts.ended}", ""]
    lines += [
        f"  {moment.at}  {moment.what:<16}  {moment.says}"
        for moment in facts.timeline
        if moment.what in shown or moment.what.startswith(("shadow", "canary"))
    ]
    lines += ["", f"  {'policy':<16}{'error (RMSE)':>14}{f'in {facts.years[-1]}':>10}{'bias':>8}{'trainings':>11}"]
    for policy in facts.policies:
        lines.append(
            f"  {NAMES[policy.policy]:<16}{policy.rmse:>14.4f}{policy.rmse_last_year:>10.4f}"
            f"{policy.bias_last_year:>+8.2f}{policy.trainings:>11}"
        )
    lines += ["", f"  the report       {folder / 'report.html'}", f"  to look further  cd {folder}"]
    if shutil.which("perennial") is None:
        lines.append(f"                   perennial is {Path(sys.executable).with_name('perennial')}")
    lines += [f"    {item.command:<38}{item.says}" for item in facts.commands]
    return "\n".join(lines) + "\n"
