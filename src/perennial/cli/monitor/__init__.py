"""`perennial monitor VERB`: what changed, whether it hurts, what is being done about it. Each verb is a module here."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from importlib import import_module

from perennial.cli.verbs import Verbs

__all__ = ["VERBS", "arguments", "arguments_of"]

VERBS = {  # in the order in which a person meets them
    "run": "compare two tables, and a model on them; no workspace is needed",
    "report": "what an endpoint was asked and answered, as a page",
    "incidents": "what is wrong now, and how many false alarms there were beside what was promised",
    "show": "one incident: what was found, what happened to it, whom it was told",
    "acknowledge": "say, in your name, that you look after an incident",
    "explain": "say what is behind an incident; more of the same is not told again",
    "close": "say that an incident is over, and how it ended",
    "false-alarm": "say that nothing was wrong; counted against what the monitors promised",
    "maintenance": "spans of time in which nobody is told and nothing is retrained",
    "notices": "what was told to whom, what waits, and what was given up",
    "dashboard": "a dashboard for Grafana, as JSON",
}


def arguments(parser: argparse.ArgumentParser) -> None:
    arguments_of(parser, ())


def arguments_of(parser: argparse.ArgumentParser, words: Sequence[str]) -> None:
    """The verbs; when `words` say which one is meant, only its module is imported, so that it starts at once."""
    verbs = Verbs(parser)
    meant = words[0] if words and words[0] in VERBS else None
    for name, says in VERBS.items():
        if meant in (None, name):
            module = import_module(f"perennial.cli.monitor.{name.replace('-', '_')}")
            module.arguments(verbs.add(name, module.run, says))
