"""`perennial approve NAME@VERSION`: let a candidate pass, in your name."""

from __future__ import annotations

import argparse

from perennial.cli.models.deciding import decide, decision_arguments
from perennial.cli.output import common

__all__ = ["arguments", "run"]


def arguments(parser: argparse.ArgumentParser) -> None:
    common(parser)
    decision_arguments(parser, needs_comment=False)


def run(options: argparse.Namespace) -> int:
    return decide(options, "approve")
