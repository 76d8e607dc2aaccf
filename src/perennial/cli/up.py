"""`perennial up`: everything, in the foreground, until Ctrl-C or `perennial down`."""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from perennial.cli.output import common, emit, explain, progress
from perennial.errors import PerennialError

__all__ = ["arguments", "run"]


def arguments(parser: argparse.ArgumentParser) -> None:
    common(parser)
    parser.add_argument("--host", help="address to listen on (default: 127.0.0.1)")
    parser.add_argument("--port", type=int, help="for pages, API and tracking (default: 5000; 0 takes a free one)")
    parser.add_argument("--serving-port", type=int, help="for predictions (default: 8080; 0 takes a free one)")
    parser.add_argument("--grpc-port", type=int, help="for predictions over gRPC (default: one above; -1: none)")


def run(options: argparse.Namespace) -> int:
    from perennial.api.connect import find_folder
    from perennial.supervise.up import run as run_tree
    from perennial.supervise.upfile import Up

    os.umask(0o077)
    folder, settings = find_folder(options.home, make=True)
    given = {
        name: value
        for name in ("host", "port", "serving_port", "grpc_port")
        if (value := getattr(options, name)) is not None
    }
    origin = dict(settings.origin) | {name: f"--{name.replace('_', '-')}" for name in given}
    settings = replace(settings, **given, origin=MappingProxyType(origin))

    def announce(up: Up) -> None:
        waiting.__exit__(None, None, None)
        try:
            told = _told(folder.root, up)
            with suppress(BrokenPipeError):  # whoever reads this has seen enough; that is no reason to end
                emit(options, told, _lines(told))
        except PerennialError as error:  # the owner has just been killed: it comes back, and so does this on request
            explain(error, as_json=options.json)

    waiting = progress("starting")
    waiting.__enter__()
    try:
        run_tree(folder, settings, announce=announce)
    finally:
        waiting.__exit__(None, None, None)
    return 0


def _told(folder: Path, up: Any) -> dict[str, Any]:
    from perennial.api.connect import calls, new_link

    with calls(folder) as owner:
        status = owner.call("system.status")
    return {
        "workspace": str(folder),
        "pid": up.pid,
        "address": up.address,
        "serving": up.serving,
        "link": new_link(folder),
        "endpoints": {endpoint["name"]: endpoint["live"] for endpoint in status["endpoints"]},
        "needs": len(status["needs"]),
    }


def _lines(told: dict[str, Any]) -> Iterable[str]:
    yield f"Perennial is up on {told['workspace']}"
    yield f"  pages, API   {told['address']}"
    yield f"  predictions  {told['serving']}"
    for name, live in told["endpoints"].items():
        yield f"    {name}: version {live}, POST {told['serving']}/predict/{name}"
    if not told["endpoints"]:
        yield "    nothing is deployed yet: perennial run trains a first version"
    yield f"  to decide    {told['link']}"
    yield "               (works once, within a quarter of an hour; another one: perennial status --link)"
    if told["needs"]:
        yield f"  waiting for a person: {told['needs']}, see perennial status"
    yield "Stop with Ctrl-C, or: perennial down"
