"""`perennial models reject`: refuse a candidate, in your name, and say why."""

from __future__ import annotations

import argparse

from perennial.cli.models.deciding import decide, decision_arguments

__all__ = ["arguments", "run"]


def arguments(parser: argparse.ArgumentParser) -> None:
    decision_arguments(parser, needs_comment=True)


def run(options: argparse.Namespace) -> int:
    return decide(options, "reject")
