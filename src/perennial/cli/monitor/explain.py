"""`perennial monitor explain`: say what is behind an incident."""

from __future__ import annotations

import argparse
from typing import get_args

from perennial.cli.monitor.deciding import comment_argument, decide

__all__ = ["arguments", "run"]


def arguments(parser: argparse.ArgumentParser) -> None:
    from perennial.monitor.incidents.incident import Cause

    comment_argument(parser, says="what it is")
    causes = [cause.replace(" ", "-") for cause in get_args(Cause)]
    parser.add_argument("--cause", choices=causes, default="other", help="of which kind (default: other)")


def run(options: argparse.Namespace) -> int:
    return decide(options, "explain", "is explained", cause=options.cause.replace("-", " "))
