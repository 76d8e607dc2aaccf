"""`perennial run`: one turn of the loop, from collecting data to a candidate with its verdicts."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable
from contextlib import redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING

from perennial.cli.output import common, emit, progress, say

if TYPE_CHECKING:
    from perennial.renew.training import Outcome

__all__ = ["arguments", "run", "turn", "verdict_lines"]


def arguments(parser: argparse.ArgumentParser) -> None:
    common(parser)
    parser.add_argument("loop", nargs="?", type=Path, help="the file that declares the loop (default: loop.py)")


def run(options: argparse.Namespace) -> int:
    outcome = turn(options)
    emit(options, _told(outcome), _lines(outcome))
    return 1 if outcome.state == "refused" else 0


def turn(options: argparse.Namespace) -> Outcome:
    """Run the loop of the project in this folder."""
    from perennial.api.connect import open
    from perennial.renew.training import run_loop

    with progress("opening the workspace") as change:

        def told(text: str) -> None:
            change(text.removesuffix(" ..."))
            say(text)

        # What the user's code prints is not this command's result.
        with redirect_stdout(sys.stderr), open(options.home, origin="cli") as workspace:
            return run_loop(workspace, Path.cwd(), options.loop, told)


def _told(outcome: Outcome) -> object:
    import msgspec

    return msgspec.to_builtins(outcome)


def _lines(outcome: Outcome) -> Iterable[str]:
    ran, cached = dict.fromkeys(outcome.ran), dict.fromkeys(outcome.cached)  # the model is fitted twice
    steps = f"ran {', '.join(ran) or 'nothing'}; unchanged: {', '.join(cached) or 'nothing'}"
    yield f"{outcome.name} version {outcome.version}: {outcome.state}{'' if outcome.is_new else ', as before'}"
    yield f"  run {outcome.run_id}: {steps}"
    yield from verdict_lines(outcome)
    if outcome.state == "candidate":
        yield f"to go on: perennial approve {outcome.name}@{outcome.version}"


def verdict_lines(outcome: Outcome) -> Iterable[str]:
    """One line for each requirement: the verdict and what was found."""
    marks = {True: "passed", False: "FAILED", None: "n/a"}
    for verdict in outcome.verdicts:
        yield f"  {marks[verdict.passed]:<6}  {verdict.sentence}: {verdict.says}"
