"""`perennial data VERB`: collect, version, validate, compare and look at data. Each verb is a module of this folder."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from importlib import import_module

from perennial.cli.verbs import Verbs

__all__ = ["VERBS", "arguments", "arguments_of"]

VERBS = {  # in the order in which a person meets them
    "add": "make a version of files as they are, or of the table behind an address",
    "list": "dataset versions, newest first",
    "log": "the history of one dataset, with what each version changed",
    "show": "one version: its columns and what is unusual about it",
    "status": "what changed in versioned files and folders",
    "checkout": "write a version's files out again",
    "tag": "names for versions",
    "accept": "let a draft, and the schema that it proposes, pass",
    "schema": "what a dataset must look like, in versions: show, edit, decide, import, export",
    "validate": "everything in which a table differs from its schema",
    "quarantine": "the rows that were kept out of a version, and why",
    "suspects": "cells that look wrong, found in the table alone",
    "batches": "is the newest batch like the ones before it?",
    "skew": "is what is asked what the model was trained on?",
    "profile": "how a table looks, as a page: distributions, what goes together, drift",
    "diff": "what two versions, or two files, have different",
    "push": "send dataset versions to a remote",
    "pull": "get dataset versions from a remote",
    "remote": "where datasets are pushed to and pulled from",
    "import": "take over what DVC tracks, without copying it twice",
    "du": "how much room datasets take, and what gc would free",
    "rm": "give up a version's bytes, or stop watching a folder",
    "gc": "free what no version and no other record names",
    "verify": "read the bytes of versions, and name what is damaged",
}


def arguments(parser: argparse.ArgumentParser) -> None:
    arguments_of(parser, ())


def arguments_of(parser: argparse.ArgumentParser, words: Sequence[str]) -> None:
    """The verbs; when `words` say which one is meant, only its module is imported, so that it starts at once."""
    verbs = Verbs(parser)
    meant = words[0] if words and words[0] in VERBS else None
    for name, says in VERBS.items():
        if meant in (None, name):
            module = import_module(f"perennial.cli.data.{name if name != 'import' else 'import_'}")
            module.arguments(verbs.add(name, module.run, says))
