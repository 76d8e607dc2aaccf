"""`perennial runs experiments | search | delete | restore | gc`: find runs, hide them, and erase what was hidden."""

from __future__ import annotations

import argparse
from typing import Any

from perennial.cli.output import emit, moment, table
from perennial.cli.verbs import Verbs

__all__ = ["add"]

DAY_S = 86_400


def add(verbs: Verbs) -> None:
    listing = verbs.add("experiments", experiments, "what runs are kept under")
    listing.add_argument("--filter", default="", help="for example \"name LIKE 'pay%%'\"")
    searching = verbs.add("search", search, "runs by MLflow's filter language")
    searching.add_argument("experiments", nargs="+", metavar="EXPERIMENT", help="names of experiments or loops")
    searching.add_argument("--filter", default="", help="for example \"metrics.rmse < 0.5 AND params.depth = '3'\"")
    searching.add_argument("--order", action="append", default=[], help='for example "metrics.rmse ASC"')
    searching.add_argument("--limit", type=int, default=50, help="how many (default: 50)")
    for name, call, says in (
        ("delete", "runs.delete", "hide a run until it is restored or erased"),
        ("restore", "runs.restore", "bring a deleted run back"),
    ):
        verb = verbs.add(name, lambda options, call=call, name=name: change(options, call, name), says)
        verb.add_argument("run_id", metavar="RUN")
    erasing = verbs.add("gc", collect, "erase runs, models and experiments that were deleted, for good")
    erasing.add_argument("--older-than", type=float, default=0.0, metavar="DAYS", help="deleted at least so long ago")
    erasing.add_argument("--dry-run", action="store_true", help="only say what would be erased")


def experiments(options: argparse.Namespace) -> int:
    from perennial.api.connect import calls

    with calls(options.home) as owner:
        found = owner.call("experiments.search", filter=options.filter, order_by=["name"])["experiments"]
    rows = [row | {"created": moment(row["created"])} for row in found]
    columns = {"id": "number", "name": "name", "lifecycle": "state", "created": "made"}
    emit(options, found, table(rows, columns) if rows else ["there are none"])
    return 0


def search(options: argparse.Namespace) -> int:
    from perennial.api.connect import calls

    with calls(options.home) as owner:
        numbers = [owner.call("experiments.get", name=name)["id"] for name in options.experiments]
        page = owner.call(
            "runs.search", experiments=numbers, filter=options.filter, order_by=options.order, limit=options.limit
        )
    keys = sorted({key for run in page["runs"] for key in run["metrics"] if not key.startswith("system/")})[:4]
    rows = [_row(run, keys) for run in page["runs"]]
    columns = {"id": "run", "name": "name", "status": "status", "started": "started", **{key: key for key in keys}}
    emit(options, page, table(rows, columns) if rows else ["no run is like that"])
    return 0


def change(options: argparse.Namespace, call: str, name: str) -> int:
    from perennial.api.connect import calls

    with calls(options.home) as owner:
        owner.call(call, run_id=options.run_id)
    says = "is deleted; `perennial runs restore` brings it back" if name == "delete" else "is back"
    emit(options, {"run": options.run_id, "done": name}, [f"run {options.run_id} {says}"])
    return 0


def collect(options: argparse.Namespace) -> int:
    from perennial.api.connect import calls

    with calls(options.home) as owner:
        found = owner.call("trash.empty", older_than_s=options.older_than * DAY_S, dry_run=options.dry_run)
    word = "would be erased" if options.dry_run else "erased; `perennial data gc` gives the space of their files back"
    told = f"{found['runs']} runs, {found['models']} logged models and {found['experiments']} experiments {word}"
    emit(options, found, [told])
    return 0


def _row(run: dict[str, Any], keys: list[str]) -> dict[str, Any]:
    values = {key: run["metrics"][key]["value"] if key in run["metrics"] else "" for key in keys}
    return {"id": run["id"], "name": run["name"], "status": run["status"], "started": moment(run["started"]), **values}
