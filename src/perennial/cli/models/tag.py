"""`perennial models tag`: set, show and take away tags of a version."""

from __future__ import annotations

import argparse

from perennial.cli.names import model_at
from perennial.cli.output import emit
from perennial.errors import Invalid

__all__ = ["arguments", "run"]


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", metavar="NAME@VERSION")
    parser.add_argument("tags", nargs="*", metavar="KEY[=VALUE]", help="set these; without any, show what is there")
    parser.add_argument("--remove", action="append", default=[], metavar="KEY", help="take this one away")


def run(options: argparse.Namespace) -> int:
    from perennial.api.connect import calls

    name, version = model_at(options.model)
    if version is None and (options.tags or options.remove):
        raise Invalid("a tag hangs on one version", remedy=f"write {name}@VERSION")
    with calls(options.home) as owner:
        for key in options.remove:
            owner.call("models.delete_tag", name=name, version=version, key=key)
        for tag in options.tags:
            key, _, value = tag.partition("=")
            owner.call("models.set_tag", name=name, version=version, key=key, value=value)
        found = owner.call("models.get", name=name, version=version)
    lines = [f"{key}={value}" if value else key for key, value in found["tags"].items()]
    emit(options, found["tags"], lines or [f"{name} version {found['version']} has no tags"])
    return 0
