"""`perennial models describe`: what people say of a model; without options, what was said so far."""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from typing import Any

from perennial.cli.output import emit, moment

__all__ = ["arguments", "run"]

FACTS = {
    "description": "in a sentence or two",
    "purpose": "what it is for, and what not",
    "owner": "the person or team who answers for it",
    "risk": "its risk class by your rules",
    "data": "what the data are, and by which right they are used",
    "limits": "where it must not be used, or is known to fail",
    "review_by": "the day by which somebody looks at it again, such as 2027-06-30",
    "retire_by": "the day from which it is not used any more",
}


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", help="of the model")
    for fact, says in FACTS.items():
        parser.add_argument(f"--{fact.replace('_', '-')}", metavar="TEXT", help=f'{says}; "" takes it away')


def run(options: argparse.Namespace) -> int:
    from perennial.api.connect import calls

    said = {fact: getattr(options, fact) for fact in FACTS if getattr(options, fact) is not None}
    with calls(options.home) as owner:
        operation = "models.describe" if said else "models.about"
        facts = owner.call(operation, name=options.name, **said)
    emit(options, facts, _lines(facts))
    return 0


def _lines(facts: dict[str, Any]) -> Iterable[str]:
    yield facts["name"]
    for fact in FACTS:
        yield f"  {fact.replace('_', ' ')}: {facts[fact] or '(nobody has said)'}"
    if facts["at"] is not None:
        yield f"  last said by {facts['by']}, {moment(facts['at'])}"
