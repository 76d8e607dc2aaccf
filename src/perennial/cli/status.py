"""`perennial status`: what needs a person now, and what is live."""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from typing import Any

from perennial.cli.output import common, emit, moment, table

__all__ = ["arguments", "run"]


def arguments(parser: argparse.ArgumentParser) -> None:
    common(parser)
    parser.add_argument("--link", action="store_true", help="print a new link that lets one person log in to the pages")


def run(options: argparse.Namespace) -> int:
    from perennial.api.connect import calls, find_folder, new_link
    from perennial.supervise.upfile import read_up

    if options.link:
        link = new_link(options.home)
        emit(options, {"link": link}, [link])
        return 0
    with calls(options.home) as owner:
        told = owner.call("system.status")
    up = read_up(find_folder(options.home)[0].root)
    told["up"] = {"pid": up.pid, "address": up.address, "serving": up.serving} if up else None
    emit(options, told, _lines(told))
    return 0


def _lines(told: dict[str, Any]) -> Iterable[str]:
    up = told["up"]
    yield f"up: {up['address']}, predictions {up['serving']}" if up else "not up; start with: perennial up"
    for problem in told["problems"]:
        yield f"problem: {problem}"
    yield ""
    yield "needs a person:" if told["needs"] else "nothing needs a person"
    for need in told["needs"]:
        yield f"  {need['subject']}: {need['says']} ({moment(need['since'])})"
        yield f"    {need['command']}"
    if told["endpoints"]:
        yield ""
        rows = [endpoint | {"under_way": _under_way(endpoint["rollout"])} for endpoint in told["endpoints"]]
        yield from table(rows, {"name": "endpoint", "live": "live", "previous": "before", "under_way": "under way"})


def _under_way(rollout: dict[str, Any] | None) -> str:
    if rollout is None:
        return ""
    stage = rollout["stages"][rollout["stage"]]["kind"] if rollout["stages"] else "direct"
    return f"version {rollout['version']}, {stage}, {rollout['state']}"
