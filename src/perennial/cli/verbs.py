"""`perennial NOUN VERB`: the verbs of one noun, each with its own arguments."""

from __future__ import annotations

import argparse
from collections.abc import Callable

from perennial.cli.output import common

__all__ = ["Verbs"]


class Verbs:
    """Collects the verbs of a noun; `add` returns the verb's parser, for its arguments."""

    def __init__(self, parser: argparse.ArgumentParser) -> None:
        self._verbs = parser.add_subparsers(metavar="VERB", required=True)

    def add(self, name: str, run: Callable[[argparse.Namespace], int], says: str) -> argparse.ArgumentParser:
        parser = self._verbs.add_parser(name, help=says, description=says[0].upper() + says[1:] + ".")
        common(parser)
        parser.set_defaults(run=run)
        return parser
