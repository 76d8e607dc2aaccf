"""`perennial models alias`: names of your own that point at versions; `live` and `candidate` belong to the rollout."""

from __future__ import annotations

import argparse

from perennial.cli.names import model_at
from perennial.cli.output import emit
from perennial.errors import Invalid

__all__ = ["arguments", "run"]


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", metavar="NAME[@VERSION]")
    parser.add_argument("alias", nargs="?", help="point it at the version; without one, show them all")
    parser.add_argument("--remove", action="store_true", help="take the alias away")


def run(options: argparse.Namespace) -> int:
    from perennial.api.connect import calls

    name, version = model_at(options.model)
    if options.alias and version is None and not options.remove:
        raise Invalid("an alias points at one version", remedy=f"perennial models alias {name}@VERSION {options.alias}")
    with calls(options.home) as owner:
        if options.alias:
            to = None if options.remove else version
            aliases = owner.call("models.set_alias", name=name, alias=options.alias, version=to)
        else:
            aliases = owner.call("models.aliases", name=name)
    emit(options, aliases, [f"{name}@{alias} is version {number}" for alias, number in aliases.items()])
    return 0
