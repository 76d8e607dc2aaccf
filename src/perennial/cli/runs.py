"""`perennial runs`: what was run, and what one run used and found."""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from typing import Any

from perennial.cli import runs_find
from perennial.cli.output import emit, moment, table
from perennial.cli.runs_import import add_import
from perennial.cli.verbs import Verbs

__all__ = ["arguments"]

COLUMNS = {"id": "run", "loop": "loop", "kind": "kind", "status": "status", "started": "started", "reason": "reason"}


def arguments(parser: argparse.ArgumentParser) -> None:
    verbs = Verbs(parser)
    listing = verbs.add("list", show_list, "runs, newest first")
    listing.add_argument("loop", nargs="?", help="of one loop")
    listing.add_argument("--limit", type=int, default=50, help="how many (default: 50)")
    verbs.add("show", show, "one run with its steps, parameters and metrics").add_argument("run_id", metavar="RUN")
    verbs.add("unsent", show_unsent, "what was logged here and has not arrived yet")
    verbs.add("send", send, "send what processes that are gone could not send")
    add_import(verbs)
    runs_find.add(verbs)
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


def show_unsent(options: argparse.Namespace) -> int:
    import msgspec

    from perennial.api.connect import find_folder
    from perennial.store.files import LocalFiles
    from perennial.tracking.left import unsent

    folder, _ = find_folder(options.home)
    told: dict[str, Any] = msgspec.to_builtins(unsent(folder.spool, LocalFiles()))
    emit(options, told, _unsent_lines(told))
    return 0


def send(options: argparse.Namespace) -> int:
    import msgspec

    from perennial.api import connect

    connect.find_folder(options.home)  # there must be a workspace; none is made here
    with connect.open(options.home, origin="cli") as ws:
        done = ws.runs.send_left()
    lines = [f"{done.spools} spools sent: {done.stored} points stored, {done.refused} refused and set aside"]
    lines += [f"{done.live} spools are left to their processes, which go on"] if done.live else []
    lines += [f"{done.waiting} spools wait: {done.problem}"] if done.waiting else []
    emit(options, msgspec.to_builtins(done), lines)
    return 1 if done.waiting else 0


def _unsent_lines(told: dict[str, Any]) -> Iterable[str]:
    columns = {"run_id": "run", "is_live": "goes on", "received": "received", "stored": "stored", "refused": "refused"}
    columns |= {"dropped": "dropped", "pending": "pending", "damaged_bytes": "damaged bytes"}
    if not told["spools"] and not told["refused_files"]:
        yield "everything has arrived"
    if told["spools"]:
        yield from table(told["spools"], columns)
        parts = " + ".join(f"{told[name]} {name}" for name in ("stored", "refused", "dropped", "pending"))
        yield f"{told['received']} received = {parts}"
    yield from (f"refused, with the reasons: {path}" for path in told["refused_files"])


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
