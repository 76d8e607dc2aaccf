"""`perennial data tag`: a name for a version."""

from __future__ import annotations

import argparse

from perennial.cli.names import dataset_at
from perennial.cli.output import emit, moment, table

__all__ = ["arguments", "run"]

COLUMNS = {"tag": "tag", "version": "version", "at": "since", "by": "by"}


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("dataset", metavar="NAME[@VERSION]", help="without a version: the newest that is accepted")
    parser.add_argument("tag", nargs="?", help="the tag; without it those that there are are listed")
    parser.add_argument("--delete", action="store_true", help="take the tag away")


def run(options: argparse.Namespace) -> int:
    from perennial.api.connect import calls
    from perennial.errors import Invalid, NotFound

    name, which = dataset_at(options.dataset)
    with calls(options.home) as owner:
        if options.tag is None:
            if options.delete:
                raise Invalid("say which tag to take away", remedy=f"perennial data tag {name} TAG --delete")
            tags = owner.call("datasets.tags", name=name)
            if not tags and not owner.call("datasets.list", name=name, limit=1):
                raise NotFound(f"there is no dataset {name!r}", remedy="see them with: perennial data list")
            rows = [tag | {"at": moment(tag["at"])} for tag in tags]
            emit(options, tags, table(rows, COLUMNS) if rows else [f"{name} has no tags"])
        elif options.delete:
            owner.call("datasets.untag", name=name, tag=options.tag)
            emit(options, {"name": name, "tag": options.tag, "deleted": True}, [f"{name} has no tag {options.tag}"])
        else:
            version = owner.call("datasets.get", name=name, version=which)["version"]
            made = owner.call("datasets.tag", name=name, tag=options.tag, version=version)
            emit(options, made, [f"{name}@{options.tag} is version {version}"])
    return 0
