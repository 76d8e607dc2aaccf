"""`perennial check`: the verdict on the loop as it stands, for continuous integration."""

from __future__ import annotations

import argparse

import msgspec

from perennial.cli.output import emit
from perennial.cli.run import arguments, turn, verdict_lines

__all__ = ["arguments", "run"]


def run(options: argparse.Namespace) -> int:
    outcome = turn(options)
    passed = outcome.state != "refused"
    word = "yes" if passed else "no"
    told = {"passed": passed, "run": outcome.run_id, "verdicts": msgspec.to_builtins(outcome.verdicts)}
    first = f"{word}: {outcome.name} version {outcome.version}, run {outcome.run_id}"
    emit(options, told, [first, *verdict_lines(outcome)])
    return 0 if passed else 1
