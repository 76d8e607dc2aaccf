"""`perennial doctor`: is this machine, and this workspace, in order? Looks at everything, changes nothing."""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import sqlite3
import sys
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from perennial import __version__
from perennial.cli.output import common, emit
from perennial.config import Settings
from perennial.errors import PerennialError
from perennial.store.workspace_folder import WorkspaceFolder

__all__ = ["arguments", "run"]

RESERVE_BYTES, RESERVE_SHARE = 1 << 30, 0.05
MENDED_SQLITE = (3, 51, 3)  # from here on two connections may write and checkpoint at once without harm


class Finding(NamedTuple):
    """One thing that was looked at: `state` is ok, note or bad."""

    what: str
    state: str
    says: str
    remedy: str = ""


def arguments(parser: argparse.ArgumentParser) -> None:
    common(parser)


def run(options: argparse.Namespace) -> int:
    findings = [*_machine(), *_workspace(options.home)]
    settings = list(_settings())
    told = {"findings": [finding._asdict() for finding in findings], "settings": settings}
    emit(options, told, _lines(findings, settings))
    return 1 if any(finding.state == "bad" for finding in findings) else 0


def _machine() -> Iterator[Finding]:
    yield Finding("perennial", "ok", f"{__version__}, in {Path(__file__).parents[1]}")
    version = platform.python_version()
    yield Finding("python", "ok", f"{version} on {platform.platform()}, {sys.executable}")
    mended = sqlite3.sqlite_version_info >= MENDED_SQLITE
    says = f"{sqlite3.sqlite_version}" + ("" if mended else ", has the WAL-reset defect: worked round by one writer")
    yield Finding("sqlite", "ok" if mended else "note", says)


def _workspace(home: str | None) -> Iterator[Finding]:
    from perennial.api.connect import find_folder

    try:
        folder, settings = find_folder(home)
    except PerennialError as error:
        yield Finding("workspace", "bad", error.what, error.remedy)
        return
    yield Finding("workspace", "ok", f"{folder.root}, id {folder.id}{', simulated time' if folder.simulated else ''}")
    for look in (_disk, _permissions, _owner, _tree, _service):
        yield _guarded(look, folder)
    yield _guarded(partial(_records, settings=settings), folder, name="records")


def _guarded(look: Callable[[WorkspaceFolder], Finding], folder: WorkspaceFolder, name: str = "") -> Finding:
    try:
        return look(folder)
    except Exception as error:  # noqa: BLE001  the boundary of one look: it is the finding, and the others follow
        return Finding(name or look.__name__.strip("_"), "bad", f"{type(error).__name__}: {error}".splitlines()[0])


def _disk(folder: WorkspaceFolder) -> Finding:
    usage = shutil.disk_usage(folder.root)
    enough = usage.free >= min(RESERVE_BYTES, usage.total * RESERVE_SHARE)
    says = f"{usage.free / (1 << 30):.1f} GiB free of {usage.total / (1 << 30):.1f}"
    return Finding(
        "disk", "ok" if enough else "bad", says, "" if enough else "free some space before writes are refused"
    )


def _permissions(folder: WorkspaceFolder) -> Finding:
    state = folder.root.stat()
    if not os.access(folder.root, os.W_OK | os.X_OK):
        return Finding("permissions", "bad", "you may not write to the workspace", f"chown or chmod {folder.root}")
    if state.st_mode & 0o022:
        return Finding("permissions", "bad", "others may write to the workspace", f"chmod go-w {folder.root}")
    told = folder.root / "owner.json"
    if told.exists() and told.stat().st_mode & 0o077:
        return Finding("permissions", "bad", "others may read the owner's token", f"chmod 600 {told}")
    return Finding("permissions", "ok", "only you write here")


def _owner(folder: WorkspaceFolder) -> Finding:
    from perennial.store.owner import find_owner

    owner = find_owner(folder.root)
    if owner is None:
        return Finding("owner", "ok", "nobody: a command owns the workspace while it runs")
    where = f"at {owner.address}" if owner.address else "which does not listen"
    return Finding("owner", "ok", f"process {owner.pid} {where}, perennial {owner.version}, epoch {owner.epoch}")


def _tree(folder: WorkspaceFolder) -> Finding:
    from perennial.supervise.upfile import read_up

    up = read_up(folder.root)
    if up is None:
        return Finding("processes", "ok", "perennial is not up here")
    import psutil

    gone = [name for name, pid in up.children.items() if not psutil.pid_exists(pid)]
    if gone:
        return Finding("processes", "bad", f"{', '.join(gone)} ended and did not come back yet", f"see {folder.logs}")
    return Finding(
        "processes", "ok", ", ".join(f"{name} {pid}" for name, pid in ({"up": up.pid} | up.children).items())
    )


def _service(folder: WorkspaceFolder) -> Finding:
    from perennial.serve.spec import read_spec, read_status
    from perennial.supervise.upfile import tree_is_up

    asked, status = read_spec(folder.spec), read_status(folder.serving_status)
    if status is None or not tree_is_up(folder.root):
        return Finding("predictions", "ok", f"the service is not up; revision {asked.revision} is asked for")
    problems = [told for told in (status.problem, *(held.problem for held in status.endpoints.values())) if told]
    if problems:
        return Finding("predictions", "bad", "; ".join(problems), "perennial rollback, or train a new version")
    counts = (
        f"{status.received} received = {status.stored} stored + {status.dropped} dropped + {status.pending} pending"
    )
    return Finding("predictions", "note" if status.dropped else "ok", f"revision {status.revision} runs; {counts}")


def _records(folder: WorkspaceFolder, settings: Settings) -> Finding:
    from perennial.store.database import database_url
    from perennial.store.events import Events
    from perennial.store.records import Records
    from perennial.store.schema import head, revision_of

    if not settings.records and not folder.records.exists():
        return Finding("records", "ok", "none yet")
    with Records.open(database_url(settings.records, folder.records), read_only=True) as records:
        revision, events = records.read(revision_of), Events(records).head()
    if revision != head():
        remedy = (
            "the next command that owns it upgrades it, after a copy"
            if str(revision) < str(head())
            else "upgrade perennial"
        )
        return Finding("records", "note", f"schema {revision}, this program has {head()}", remedy)
    return Finding("records", "ok", f"schema {revision}, {events} events; perennial verify reads everything")


def _settings() -> Iterable[dict[str, Any]]:
    from dataclasses import fields

    from perennial.config import read_settings

    settings = read_settings(Path.cwd(), os.environ)
    for item in fields(settings):
        if item.name != "origin":
            origin = settings.origin.get(item.name, "default")
            yield {
                "name": item.name,
                "value": settings.shown(item.name),
                "unit": item.metadata["unit"],
                "origin": origin,
            }


def _lines(findings: list[Finding], settings: list[dict[str, Any]]) -> Iterable[str]:
    for finding in findings:
        yield f"{finding.state:<4}  {finding.what}: {finding.says}"
        if finding.remedy:
            yield f"      to go on: {finding.remedy}"
    for setting in settings:
        yield f"      {setting['name']} = {setting['value']!r} ({setting['unit']}; {setting['origin']})"
