"""`perennial monitor false-alarm`: say that nothing was wrong."""

from __future__ import annotations

import argparse

from perennial.cli.monitor.deciding import comment_argument, decide

__all__ = ["arguments", "run"]


def arguments(parser: argparse.ArgumentParser) -> None:
    comment_argument(parser, says="how you know")


def run(options: argparse.Namespace) -> int:
    return decide(options, "false_alarm", "was a false alarm")
