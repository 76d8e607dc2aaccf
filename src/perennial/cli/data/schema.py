"""`perennial data schema VERB`: what a dataset must look like, in versions: look, edit, decide, take along."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from perennial.cli.data.named import TABLE, TABLE_HELP, Named
from perennial.cli.output import common, emit, moment, progress, say, table
from perennial.errors import Invalid, NotFound
from perennial.store.decoding import ready

if TYPE_CHECKING:
    from perennial.api.connect import Calls
    from perennial.data.evolution import SchemaChange
    from perennial.data.schema import Schema
    from perennial.data.schemas import SchemaVersion

__all__ = ["arguments", "run"]

COLUMNS = {
    "schema": "schema",
    "state": "state",
    "changes": "changes",
    "breaking": "breaking",
    "shown_by": "shown by",
    "by": "proposed by",
    "at": "at",
    "decided_by": "decided by",
}


def arguments(parser: argparse.ArgumentParser) -> None:
    verbs = parser.add_subparsers(metavar="VERB", required=True)

    def add(name: str, verb: Callable[[argparse.Namespace], int], says: str, **more: Any) -> argparse.ArgumentParser:
        # What stands before the verb holds as well, so its own --home and --json have no default.
        shared = argparse.ArgumentParser(add_help=False, argument_default=argparse.SUPPRESS)
        common(shared)
        sentence = says[0].upper() + says[1:] + "."
        made = verbs.add_parser(name, help=says, description=sentence, parents=[shared], **more)
        made.set_defaults(verb=verb)
        return made

    shown = add("show", _show, "the schema that new data are checked against")
    shown.add_argument("name", metavar="NAME", help="of the dataset")
    shown.add_argument("--version", type=int, metavar="N", help="another schema version than the accepted one")
    shown.add_argument("--toml", action="store_true", help="print the file to edit")

    listed = add("list", _list, "schema versions, newest first")
    listed.add_argument("name", metavar="NAME", nargs="?", default=None, help="of one dataset")

    inferred = add("infer", _infer, "a schema that a table fits")
    inferred.add_argument("table", metavar=TABLE, help=TABLE_HELP)
    inferred.add_argument("--target", metavar="COLUMN", default=None, help="is there in training and not in serving")
    inferred.add_argument("--relations", action="store_true", help="look for relations between columns, too")
    inferred.add_argument("--save", metavar="NAME", default=None, help="propose it for this dataset")

    edited = add("edit", _edit, "propose what a file says, with what it changes", aliases=["set"])
    edited.add_argument("name", metavar="NAME", help="of the dataset")
    edited.add_argument("file", metavar="FILE", help="as `schema show NAME --toml` prints it; - for standard input")
    _deciding(edited)

    brought = add("import", _import, "propose a schema that was written for another program")
    brought.add_argument("name", metavar="NAME", help="of the dataset")
    brought.add_argument("file", metavar="FILE", help="- for standard input")
    forms = ("tfdv", "json-schema", "pandera", "toml")
    brought.add_argument("--from", dest="form", choices=forms, required=True, help="what the file is")
    _deciding(brought)

    compared = add("diff", _diff, "what one schema version does differently from another")
    compared.add_argument("name", metavar="NAME", help="of the dataset")
    compared.add_argument("before", metavar="A", type=int, nargs="?", default=None, help="default: the accepted one")
    compared.add_argument("after", metavar="B", type=int, nargs="?", default=None, help="default: the one that waits")

    for name, decision, says in (
        ("accept", _accept, "let a proposed schema hold, in your name"),
        ("reject", _reject, "refuse a proposed schema, in your name"),
    ):
        decided = add(name, decision, says)
        decided.add_argument("name", metavar="NAME", help="of the dataset")
        decided.add_argument(
            "version", metavar="VERSION", type=int, nargs="?", default=None, help="default: the one that waits"
        )

    exported = add("export", _export, "write the schema for another program")
    exported.add_argument("name", metavar="NAME", help="of the dataset")
    exported.add_argument("--as", dest="form", choices=("toml", "json-schema", "pandera"), required=True)
    exported.add_argument("--version", type=int, metavar="N", help="another schema version than the accepted one")
    exported.add_argument("--environment", metavar="NAME", default="training", help="default: training")


def run(options: argparse.Namespace) -> int:
    return options.verb(options)


def _deciding(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--accept", action="store_true", help="accept it at once, in your name")
    parser.add_argument("--dry-run", action="store_true", help="tell what it changes, and change nothing")


def _show(options: argparse.Namespace) -> int:
    from perennial.api.connect import calls
    from perennial.data.forms.toml import to_toml

    with calls(options.home) as owner:
        found = _get(owner, options.name, options.version)
    text = to_toml(found.schema, name=options.name)
    if options.toml and not options.json:
        print(text, end="")
        return 0
    head = f"schema {found.version} of {found.name}: {found.state}"
    decided = f" by {found.decided_by}, {moment(found.decided_at)}" if found.decided_by else f", {moment(found.at)}"
    lines = text.splitlines()
    body = lines[next(index for index, line in enumerate(lines) if not line.startswith("#")) :]
    emit(options, _plain(found), [head + decided, *body])
    return 0


def _list(options: argparse.Namespace) -> int:
    from perennial.api.connect import calls

    with calls(options.home) as owner:
        found: list[dict[str, Any]] = owner.call("schemas.list", name=options.name)
    rows = [
        one
        | {
            "schema": f"{one['name']} {one['version']}",
            "at": moment(one["at"]),
            "changes": len(one["changes"]),
            "breaking": sum(change["breaking"] for change in one["changes"]),
            "shown_by": f"{one['name']}@{one['dataset_version']}" if one["dataset_version"] else None,
        }
        for one in found
    ]
    emit(options, found, table(rows, COLUMNS) if rows else ["there are no schemas yet: perennial data schema infer"])
    return 0


def _infer(options: argparse.Namespace) -> int:
    from perennial.data.forms.toml import to_toml
    from perennial.data.inference import infer

    with Named(options.home) as named, progress(f"looking at {options.table}"):
        schema = infer(named.table(options.table), target=options.target, relations=options.relations)
    if options.save is not None:
        options.name, options.accept, options.dry_run = options.save, False, False
        return _propose(options, schema, [])
    import msgspec

    text = to_toml(schema, name="" if "/" in options.table else options.table)
    emit(options, msgspec.to_builtins(schema), text.splitlines())
    return 0


def _edit(options: argparse.Namespace) -> int:
    options.form = "toml"
    return _import(options)


def _import(options: argparse.Namespace) -> int:
    from perennial.data.forms import read

    if options.file == "-":
        text = sys.stdin.read()
    else:
        try:
            text = Path(options.file).read_text(encoding="utf-8")
        except OSError as error:
            raise NotFound(f"the file cannot be read: {error.strerror}", where=options.file) from error
        except UnicodeDecodeError as error:
            raise Invalid("the file is not UTF-8", where=options.file, remedy="save it as UTF-8") from error
    schema, lost = read(text, options.form)
    for what in lost:
        say(f"not taken over: {what}")
    return _propose(options, schema, lost)


def _propose(options: argparse.Namespace, schema: Schema, lost: list[str]) -> int:
    import msgspec

    from perennial.api.connect import find_folder, open
    from perennial.data.evolution import changes, diff_lines

    if options.dry_run:
        find_folder(options.home)  # looking makes no workspace
    with open(options.home, origin="cli") as ws:
        accepted = ws.schemas.get(name=options.name)
        found = changes(accepted.schema, schema) if accepted else []
        made = None
        if not options.dry_run:
            made = ws.schemas.propose(name=options.name, schema=schema, base=accepted.version if accepted else 0)
            if options.accept and made.state == "proposed":
                made = ws.schemas.decide(name=options.name, version=made.version, accept=True)
    lines = list(diff_lines(found)) if accepted else [f"the first schema of {options.name}: {_counted(schema)}"]
    told = {"name": options.name, "changes": msgspec.to_builtins(found), "lost": lost, "schema": _plain(made)}
    emit(options, told, [*lines, *(_outcome(made) if made else [])])
    return 0


def _diff(options: argparse.Namespace) -> int:
    from perennial.api.connect import calls
    from perennial.data.evolution import changes, diff_lines

    with calls(options.home) as owner:
        before = _get(owner, options.name, options.before)
        after = _get(owner, options.name, options.after or _waiting(owner, options.name))
    found = changes(before.schema, after.schema)
    told = {"name": options.name, "before": before.version, "after": after.version, "changes": _plain(found)}
    emit(options, told, [f"{options.name}: schema {before.version} to {after.version}", *diff_lines(found)])
    return 0


def _accept(options: argparse.Namespace) -> int:
    return _decide(options, accept=True)


def _reject(options: argparse.Namespace) -> int:
    return _decide(options, accept=False)


def _decide(options: argparse.Namespace, *, accept: bool) -> int:
    from perennial.api.connect import calls

    with calls(options.home) as owner:
        version = options.version or _waiting(owner, options.name)
        told = owner.call("schemas.decide", name=options.name, version=version, accept=accept)
    decided = _schema_version(told)
    emit(options, told, _outcome(decided))
    return 0


def _export(options: argparse.Namespace) -> int:
    from perennial.api.connect import calls
    from perennial.data.forms import written

    with calls(options.home) as owner:
        found = _get(owner, options.name, options.version)
    text = written(found.schema, options.form, name=options.name, environment=options.environment)
    emit(options, {"name": found.name, "version": found.version, "form": options.form, "text": text}, [text.rstrip()])
    return 0


def _get(owner: Calls, name: str, version: int | None) -> SchemaVersion:
    told = owner.call("schemas.get", name=name, version=version)
    if told is None:
        raise NotFound(
            f"{name!r} has no schema yet", remedy=f"propose one: perennial data schema infer {name} --save {name}"
        )
    return _schema_version(told)


def _waiting(owner: Calls, name: str) -> int:
    """The one schema version that waits for a decision."""
    waiting = [found["version"] for found in owner.call("schemas.list", name=name, state="proposed")]
    if not waiting:
        raise NotFound(f"no schema of {name!r} waits for a decision", remedy=f"perennial data schema list {name}")
    if len(waiting) > 1:
        told = " and ".join(map(str, sorted(waiting)))
        raise Invalid(f"schemas {told} of {name!r} wait", remedy="name the version")
    return waiting[0]


def _outcome(found: SchemaVersion) -> Iterator[str]:
    said = f"schema {found.version} of {found.name} is {found.state}"
    if found.state == "proposed":
        yield f"{said}, and waits: perennial data schema accept {found.name} {found.version}"
    else:
        yield f"{said}, by {found.decided_by}"
    if found.state == "accepted" and found.dataset_version:
        shown = f"{found.name}@{found.dataset_version}"
        yield f"{shown} showed it; while that is a draft: perennial data accept {shown}"


def _counted(schema: Schema) -> str:
    return f"{len(schema.columns)} column{'s' if len(schema.columns) > 1 else ''}"


def _schema_version(told: dict[str, Any]) -> SchemaVersion:
    import msgspec

    from perennial.data.schemas import SchemaVersion

    return msgspec.convert(told, ready(SchemaVersion))


def _plain(value: SchemaVersion | list[SchemaChange] | None) -> Any:
    import msgspec

    return msgspec.to_builtins(value)
