"""`perennial models approve`: let a candidate pass, in your name."""

from __future__ import annotations

import argparse

from perennial.cli.models.deciding import decide, decision_arguments

__all__ = ["arguments", "run"]


def arguments(parser: argparse.ArgumentParser) -> None:
    decision_arguments(parser, needs_comment=False)


def run(options: argparse.Namespace) -> int:
    return decide(options, "approve")
