"""`perennial demo`: a model's whole life on real data, in a minute."""

from __future__ import annotations

import argparse
from pathlib import Path

from perennial.cli.output import common

__all__ = ["arguments", "run"]


def arguments(parser: argparse.ArgumentParser) -> None:
    common(parser)
    parser.add_argument("folder", nargs="?", type=Path, help="where the project is left (default: a new folder here)")
    parser.add_argument("--seed", type=int, default=0, help="of the model and the order of people")
    parser.add_argument("--years", type=int, default=6, help="how many years come in after training, 1 to 6")
    parser.add_argument("--stationary", action="store_true", help="every year is drawn from one year: nothing changes")


def run(options: argparse.Namespace) -> int:
    from perennial.demo import main

    return main(options)
