"""`perennial data log`: the history of one dataset, newest first, with what each version changed."""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from typing import Any

from perennial.cli.output import counted, emit, moment

__all__ = ["arguments", "run"]


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME")


def run(options: argparse.Namespace) -> int:
    from perennial.api.connect import calls
    from perennial.errors import NotFound

    with calls(options.home) as owner:
        versions: list[dict[str, Any]] = owner.call("datasets.list", name=options.name)
        if not versions:
            raise NotFound(f"there is no dataset {options.name!r}", remedy="see them with: perennial data list")
        tags: list[dict[str, Any]] = owner.call("datasets.tags", name=options.name)
    pointing: dict[int, list[str]] = {}
    for tag in tags:
        pointing.setdefault(tag["version"], []).append(tag["tag"])
    value = [version | {"tags": pointing.get(version["version"], [])} for version in versions]
    emit(options, value, (line for version in value for line in _lines(version)))
    return 0


def _lines(version: dict[str, Any]) -> Iterable[str]:
    from perennial.cli.data.add import changed, size

    words = [version["kind"], "" if version["state"] == "accepted" else version["state"]]
    words += [counted(version["rows"], "row") if version["rows"] else ""]
    words += [f"{counted(version['files'], 'file')}, {size(version['size_bytes'])}" if version["files"] else ""]
    words += [f"tagged {', '.join(version['tags'])}" if version["tags"] else ""]
    words += [f"removed {moment(version['removed_at'])}" if version["manifest"] is None else ""]
    yield f"{version['name']}@{version['version']}  {moment(version['at'])}  {'; '.join(filter(None, words))}"
    if version["parent"] is not None and (told := changed(version["changes"])):
        yield f"  since version {version['parent']}: {told}"
    if version["note"]:
        yield f"  {version['note']}"
    for violation in version["violations"]:
        yield f"  {violation['severity']}: {violation['says']}"
