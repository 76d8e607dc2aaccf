"""A schema as a small TOML file, to read and to edit: one line per column, relations and checks below.

    [columns]
    fare = { type = "float64", at_least = 0.0 }
    tips = "float64"

Reading is strict: a word that is not known is an error that names its line and the word that was probably meant.
`from_toml(to_toml(schema)) == schema`.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NoReturn

import msgspec

from perennial.data.forms.sound import did_you_mean, faults
from perennial.data.schema import Check, Column, Dependency, Order, Schema
from perennial.errors import Invalid
from perennial.store.decoding import ready

__all__ = ["from_toml", "to_toml"]

WIDTH = 120
_HELP = """\
# Of a column may be said, beside its type (float64, int64, bool, string, binary, datetime, date):
#   nullable = true             values may be missing; presence = 0.9: in nine of ten rows there is one
#   missing = ["?"]             texts that stand for a missing value
#   categories = ["a", "b"]     the closed set of texts; coverage = 0.99: one of a hundred may be another
#   minimum, maximum            what was seen (some slack is allowed)
#   at_least, at_most           hard limits
#   patterns = ['[0-9]{5}']     regular expressions, of which one matches the whole text
#   unique = true               no value twice
#   absent_in = ["serving"]     environments in which the column need not be there
#   severity = "error"          a value that breaks this is an error; else it is a warning
#   drift_limit, skew_limit     largest distance to the version before, and of serving to training, in [0, 1]
# Relations: keys = [["person", "year"]], dependencies = [{ determinants = ["zip"], dependent = "city" }],
# orders = [{ lower = "start", upper = "end" }]. A check of your own, in SQL, true for good rows:
#   [[checks]]
#   name = "tip"
#   where = "tips <= fare"
"""
_SETTINGS = {  # what each may be, told beside it
    "min_rows": "fewer are an error",
    "bad_rows": '"warn", "quarantine" or "stop"',
    "accept_by_rule": 'of the changes that new data show: "compatible", "none" or "all"',
}
_BOUNDS = ("minimum", "maximum", "at_least", "at_most")
_RELATIONS = {"dependencies": Dependency, "orders": Order}
_ITEM = {"keys": r"\[", "checks": r"(?m:^\s*\[\[\s*checks)"}  # how an item of a list begins, where not with {
_BARE = re.compile(r"[A-Za-z0-9_-]+")


def to_toml(schema: Schema, *, name: str = "") -> str:
    """The schema as text; `name` of its dataset for the comment at the top."""
    return "".join(f"{line}\n" for line in _lines(schema, name))


def from_toml(text: str) -> Schema:
    """The schema that this text describes.

    Raises:
        Invalid: Not TOML, an unknown word, a value that makes no sense; names the line.
    """
    try:
        parsed = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        says, _, place = str(error).partition(" (at ")
        raise Invalid(
            f"this is not TOML: {says[0].lower()}{says[1:]}",
            where=place.rstrip(")"),
            remedy="compare the line with its neighbours: texts stand in quotes, lists in [], columns in {}",
        ) from None
    schema = _schema(text, parsed)
    for fault in faults(schema):
        _refuse(text, *fault)
    return schema


def _lines(schema: Schema, name: str) -> Iterator[str]:
    of = f" of {' '.join(name.split())}" if name else ""
    yield f"# The schema{of}: what every new version is checked against."
    yield from _HELP.splitlines()
    yield ""
    width = max(len(_value(getattr(schema, key))) + len(key) for key in _SETTINGS)
    for key, says in _SETTINGS.items():
        value = _value(getattr(schema, key))
        yield f"{key} = {value}{' ' * (width - len(key) - len(value))}  # {says}"
    yield ""
    yield "[columns]"
    for column in schema.columns:
        said = msgspec.to_builtins(column)
        del said["name"]
        if column.type == "int64":
            said = {
                key: int(value) if isinstance(value, float) and key in _BOUNDS and value.is_integer() else value
                for key, value in said.items()
            }
        line = f"{_key(column.name)} = {_value(said['type'] if len(said) == 1 else said)}"
        yield line if max(map(len, line.splitlines())) <= WIDTH else f"{_key(column.name)} = {_value(said, WIDTH // 2)}"
    if schema.keys or schema.dependencies or schema.orders:
        yield ""
        yield "[relations]"
        for kind in ("keys", *_RELATIONS):
            if listed := getattr(schema, kind):
                yield f"{kind} = ["
                yield from (f"    {_value(msgspec.to_builtins(item))}," for item in listed)
                yield "]"
    for check in schema.checks:
        yield ""
        yield "[[checks]]"
        yield from (f"{key} = {_value(value)}" for key, value in msgspec.to_builtins(check).items())


def _value(value: Any, width: int = WIDTH) -> str:
    """A value as TOML; lists that are longer than `width` go over several lines."""
    match value:
        case bool():
            return str(value).lower()
        case str():
            return _text(value)
        case dict():
            return "{ " + ", ".join(f"{key} = {_value(item, width)}" for key, item in value.items()) + " }"
        case list():
            items = [_value(item) for item in value]
            line = f"[{', '.join(items)}]"
            return line if len(line) < width else f"[\n{_wrapped(items)}\n]"
        case _:
            return repr(value)


def _wrapped(items: Sequence[str]) -> str:
    lines = [""]
    for item in items:
        if lines[-1] and len(lines[-1]) + len(item) > WIDTH - 8:
            lines.append("")
        lines[-1] += f"{' ' if lines[-1] else '    '}{item},"
    return "\n".join(lines)


def _text(text: str) -> str:
    if "\\" in text and "'" not in text and text.isprintable():
        return f"'{text}'"  # a regular expression stays as it is
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _key(name: str) -> str:
    return name if _BARE.fullmatch(name) else json.dumps(name, ensure_ascii=False).replace("\x7f", "\\u007f")


def _schema(text: str, parsed: dict[str, Any]) -> Schema:
    _only(text, (), parsed, (*_SETTINGS, "columns", "relations", "checks"))
    columns = _table(text, ("columns",), parsed.get("columns", {}))
    fields = [field for field in Column.__struct_fields__ if field != "name"]
    said: list[dict[str, Any]] = []
    for name, value in columns.items():
        column = {"type": value} if isinstance(value, str) else _table(text, ("columns", name), value)
        _only(text, ("columns", name), column, fields)
        said.append({"name": name, **column})
    relations = _table(text, ("relations",), parsed.get("relations", {}))
    _only(text, ("relations",), relations, ("keys", *_RELATIONS))
    for kind, struct in _RELATIONS.items():
        _each(text, ("relations", kind), relations.get(kind, []), struct.__struct_fields__)
    _each(text, ("checks",), parsed.get("checks", []), Check.__struct_fields__)
    whole = {key: parsed[key] for key in (*_SETTINGS, "checks") if key in parsed}
    try:
        return msgspec.convert(whole | relations | {"columns": said}, ready(Schema))
    except msgspec.ValidationError as error:
        reason, _, place = str(error).partition(" - at `$")
        path = _path(place.rstrip("`"), list(columns))
        missing = re.search(r"missing required field `(.*)`", reason)
        if missing:
            _refuse(text, path, f"{missing[1]} is not said", f"add {missing[1]} = ...")
        says = f"{reason[0].lower()}{reason[1:]}".replace("`", "")
        _refuse(text, path, f"{path[-1] if path else 'the file'}: {says}", "mend the value, or leave the line out")


def _only(text: str, path: tuple[str | int, ...], table: Mapping[str, Any], known: Sequence[str]) -> None:
    for key in table:
        if key not in known:
            whose = f" of column {path[-1]!r}" if path[:1] == ("columns",) and len(path) == 2 else ""
            _refuse(text, (*path, key), f"{key!r}{whose} is not known", did_you_mean(key, known))


def _table(text: str, path: tuple[str | int, ...], value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        _refuse(text, path, f"{path[-1]!r} is not a table", 'write it as { type = "float64" }')
    return value


def _each(text: str, path: tuple[str | int, ...], listed: Any, known: Sequence[str]) -> None:
    for index, item in enumerate(listed if isinstance(listed, list) else []):
        _only(text, (*path, index), item if isinstance(item, dict) else {}, known)


def _path(place: str, columns: Sequence[str]) -> tuple[str | int, ...]:
    """msgspec's place, `.columns[3].presence`, in the words of the file."""
    parts = [int(found[2]) if found[2] else found[1] for found in re.finditer(r"\.(\w+)|\[(\d+)\]", place)]
    if parts[:1] == ["columns"] and len(parts) > 1:
        return "columns", columns[int(parts[1])], *parts[2:3]
    relation = parts[0] in ("keys", *_RELATIONS) if parts else False
    return ("relations", *parts) if relation else tuple(parts)


def _refuse(text: str, path: tuple[str | int, ...], says: str, remedy: str) -> NoReturn:
    line = _line(text, path)
    raise Invalid(says, where=f"line {line}, {_dotted(path)}" if line else _dotted(path), remedy=remedy)


def _dotted(path: tuple[str | int, ...]) -> str:
    return "".join(f"[{part}]" if isinstance(part, int) else f".{_key(part)}" for part in path).lstrip(".")


def _line(text: str, path: tuple[str | int, ...]) -> int:
    """The line of this place, as well as can be seen from outside the parser; 0 when nothing of it is found."""
    code = re.sub(r"(?m)^\s*#.*$", "", text)
    at, last = 0, ""
    for part in path:
        if isinstance(part, int):
            begins = re.compile(_ITEM.get(last, r"\{"))
            found = None
            for _ in range(part + 1 + (last == "keys")):
                found = begins.search(code, found.end() if found else at if last != "checks" else 0)
                if found is None:
                    break
        else:
            key = f"(?:{re.escape(part)}|{re.escape(_key(part))})"
            found = re.compile(rf"(?m)(?:^|[\s{{,.\[\"'])({key})[\"']?\s*[=\].]").search(code, at)
            last = part
        at = found.end() if found else at
    return code.count("\n", 0, at) + 1 if at else 0
