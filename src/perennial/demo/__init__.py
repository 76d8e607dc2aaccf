"""`perennial demo`: a model's whole life on real data, from the first training to the last retraining."""

from __future__ import annotations

import argparse
from pathlib import Path

__all__ = ["main"]

FOLDER = "perennial-demo"


def main(options: argparse.Namespace) -> int:
    """Run the demo with the command line's options; the exit code."""
    from perennial.demo.run import run

    return run(
        options.folder or Path(FOLDER),
        seed=options.seed,
        years=options.years,
        stationary=options.stationary,
        as_json=options.json,
    )
