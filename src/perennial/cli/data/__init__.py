"""`perennial data VERB`: collect, version, validate, compare and look at data. Each verb is a module of this folder."""

from __future__ import annotations

import argparse
from importlib import import_module

from perennial.cli.verbs import Verbs

__all__ = ["VERBS", "arguments"]

VERBS = {  # in the order in which a person meets them
    "list": "dataset versions, newest first",
    "show": "one version: its columns and what is unusual about it",
    "accept": "let a draft, and the schema that it proposes, pass",
    "suspects": "cells that look wrong, found in the table alone",
    "batches": "is the newest batch like the ones before it?",
    "push": "send dataset versions to a remote",
    "pull": "get dataset versions from a remote",
    "remote": "where datasets are pushed to and pulled from",
}


def arguments(parser: argparse.ArgumentParser) -> None:
    verbs = Verbs(parser)
    for name, says in VERBS.items():
        module = import_module(f"perennial.cli.data.{name if name != 'import' else 'import_'}")
        module.arguments(verbs.add(name, module.run, says))
