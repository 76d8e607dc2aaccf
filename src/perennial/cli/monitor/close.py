"""`perennial monitor close`: say that an incident is over."""

from __future__ import annotations

import argparse

from perennial.cli.monitor.deciding import comment_argument, decide

__all__ = ["arguments", "run"]


def arguments(parser: argparse.ArgumentParser) -> None:
    comment_argument(parser, says="how it ended")


def run(options: argparse.Namespace) -> int:
    return decide(options, "close", "is closed")
