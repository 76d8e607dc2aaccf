"""`perennial rollback NAME`: make the version that was live before live again, at once."""

from __future__ import annotations

import argparse

from perennial.cli.output import common, emit

__all__ = ["arguments", "run"]


def arguments(parser: argparse.ArgumentParser) -> None:
    common(parser)
    parser.add_argument("endpoint", metavar="NAME")
    parser.add_argument("--reason", default="", help="why; kept in the time line")


def run(options: argparse.Namespace) -> int:
    from perennial.api.connect import calls

    with calls(options.home) as owner:
        endpoint = owner.call("endpoints.rollback", name=options.endpoint, reason=options.reason)
        owner.call("endpoints.publish")
    emit(options, endpoint, [f"{endpoint['name']}: version {endpoint['live']} is live"])
    return 0
