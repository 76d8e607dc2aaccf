"""`perennial monitor acknowledge`: say, in your name, that you look after an incident."""

from __future__ import annotations

import argparse

from perennial.cli.monitor.deciding import comment_argument, decide

__all__ = ["arguments", "run"]


def arguments(parser: argparse.ArgumentParser) -> None:
    comment_argument(parser, says="what others should know", required=False)


def run(options: argparse.Namespace) -> int:
    return decide(options, "acknowledge", "is looked after by you")
