"""`perennial data accept`: let a draft pass."""

from __future__ import annotations

import argparse

from perennial.cli.names import dataset_at
from perennial.cli.output import emit
from perennial.errors import Invalid

__all__ = ["arguments", "run"]


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("dataset", metavar="NAME@VERSION")


def run(options: argparse.Namespace) -> int:
    from perennial.api.connect import calls

    name, version = dataset_at(options.dataset)
    if version == "latest":
        raise Invalid("name the version to accept", remedy=f"perennial data list {name} shows them")
    with calls(options.home) as owner:
        accepted = owner.call("datasets.accept", name=name, version=version)
    emit(options, accepted, [f"{name} version {version} is accepted, by {accepted['accepted_by']}"])
    return 0
