"""`perennial runs`: what was run, and what one run used and found."""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from typing import Any

from perennial.cli.output import emit, moment, table
from perennial.cli.verbs import Verbs

__all__ = ["arguments"]

COLUMNS = {"id": "run", "loop": "loop", "kind": "kind", "status": "status", "started": "started", "reason": "reason"}


def arguments(parser: argparse.ArgumentParser) -> None:
    verbs = Verbs(parser)
    listing = verbs.add("list", show_list, "runs, newest first")
    listing.add_argument("loop", nargs="?", help="of one loop")
    listing.add_argument("--limit", type=int, default=50, help="how many (default: 50)")
    verbs.add("show", show, "one run with its steps, parameters and metrics").add_argument("run_id", metavar="RUN")
    logs = verbs.add("log", show_log, "what the steps of a run printed and, if one failed, its traceback")
    logs.add_argument("run_id", metavar="RUN")


def show_list(options: argparse.Namespace) -> int:
    from perennial.api.connect import calls

    with calls(options.home) as owner:
        runs: list[dict[str, Any]] = owner.call("runs.list", loop=options.loop, limit=options.limit)
    rows = [row | {"started": moment(row["started"])} for row in runs]
    emit(options, runs, table(rows, COLUMNS) if rows else ["there are no runs yet: perennial run"])
    return 0


def show(options: argparse.Namespace) -> int:
    from perennial.api.connect import calls

    with calls(options.home) as owner:
        found = owner.call("runs.get", run_id=options.run_id)
    emit(options, found, _lines(found))
    return 0


def show_log(options: argparse.Namespace) -> int:
    from perennial.api.connect import calls, find_folder
    from perennial.store.objects import ObjectStore

    folder, _ = find_folder(options.home)
    with calls(options.home) as owner:
        steps = owner.call("runs.get", run_id=options.run_id)["steps"]
    objects = ObjectStore(folder.objects)
    logs = [{"step": step["name"], "log": objects.get(step["log"]).decode() if step["log"] else ""} for step in steps]
    emit(options, logs, (line for log in logs for line in (f"{log['step']}:", *_indented(log["log"]))))
    return 0


def _indented(text: str) -> Iterable[str]:
    return (f"  {line}" for line in text.splitlines() or ["(nothing)"])


def _lines(found: dict[str, Any]) -> Iterable[str]:
    for key, value in found.items():
        if key in ("started", "ended"):
            yield f"{key}: {moment(value)}"
        elif key == "metrics":
            yield from _table(
                key, [{name: point[name] for name in ("key", "value", "step")} for point in value.values()]
            )
        elif isinstance(value, dict):
            yield from _table(key, [_named(name, held) for name, held in value.items()])
        elif key == "steps":
            yield from _table(key, [_step(step) for step in value])
        elif isinstance(value, list):
            yield from _table(key, value)
        elif value not in (None, ""):
            yield f"{key}: {value}"


def _step(step: dict[str, Any]) -> dict[str, Any]:
    taken = f"{(step['ended'] - step['started']) / 1e6:.2f} s"
    return {"step": step["name"], "state": step["state"], "from run": step["cached_from"], "took": taken}


def _named(name: str, held: object) -> dict[str, Any]:
    return {"name": name} | (held if isinstance(held, dict) else {"value": held})


def _table(title: str, rows: list[Any]) -> Iterable[str]:
    if rows:
        yield f"{title}:"
        shown = [row if isinstance(row, dict) else {"value": row} for row in rows]
        yield from (f"  {line}" for line in table(shown, {name: name for name in shown[0]}))
