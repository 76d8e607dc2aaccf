"""`perennial reject NAME@VERSION`: refuse a candidate, in your name."""

from __future__ import annotations

import argparse

from perennial.cli.approve import arguments, decide

__all__ = ["arguments", "run"]


def run(options: argparse.Namespace) -> int:
    return decide(options, "reject")
