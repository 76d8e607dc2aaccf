"""`perennial models VERB`: look at versions, decide on them, move them in and out. Each verb is a module here."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from importlib import import_module

from perennial.cli.verbs import Verbs

__all__ = ["MOVING", "VERBS", "arguments", "arguments_of"]

VERBS = {  # in the order in which a person meets them
    "list": "model versions, oldest first",
    "show": "one version with its requirements and where it comes from",
    "card": "everything recorded about one version, as a page or for another tool",
    "compare": "two versions side by side, and paired on the rows that both answered",
    "approve": "let a candidate pass, in your name",
    "reject": "refuse a candidate, in your name, and say why",
    "explain": "what drives a model's answers, or why it answers what it answers to some rows",
    "describe": "say what a model is for, who answers for it, where its limits are",
    "tag": "words that hang on a version",
    "alias": "names of your own that point at versions",
    "learned": "the versions that learned from a dataset version",
}
MOVING = ("export", "import", "verify")  # of `moving`, which tells what they do


def arguments(parser: argparse.ArgumentParser) -> None:
    arguments_of(parser, ())


def arguments_of(parser: argparse.ArgumentParser, words: Sequence[str]) -> None:
    """The verbs; when `words` say which one is meant, only its module is imported, so that it starts at once."""
    verbs = Verbs(parser)
    meant = words[0] if words and words[0] in (*VERBS, *MOVING) else None
    for name, says in VERBS.items():
        if meant in (None, name):
            module = import_module(f"perennial.cli.models.{name}")
            module.arguments(verbs.add(name, module.run, says))
    if meant is None or meant in MOVING:
        from perennial.cli.models import moving

        moving.add(verbs)
