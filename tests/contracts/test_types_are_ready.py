"""What msgspec is given is `ready`: two threads that show it a new type at once would crash the process."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

PACKAGE = Path(__file__).parents[2] / "src" / "perennial"
PLAIN = frozenset({"int", "str", "float", "bool", "bytes", "dict", "list", "tuple", "set", "Any", "object"})
# file -> expressions that are made of plain types, or of what was made ready where it was built
KNOWN = {
    "serve/intake.py": {"self._row", "self._records", "list[kind]"},
    "serve/protocols/tensors.py": {"_nested(datatype.name, len(shape))"},
    "store/decoding.py": {"kind"},
}


def is_plain(kind: ast.expr) -> bool:
    match kind:
        case ast.Constant():
            return True
        case ast.Name(id=name):
            return name in PLAIN
        case ast.Attribute(value=ast.Name(id="msgspec")):
            return True
        case ast.Subscript(value=of, slice=inner):
            return is_plain(of) and is_plain(inner)
        case ast.Tuple(elts=several):
            return all(map(is_plain, several))
        case ast.BinOp(left=one, right=other):
            return is_plain(one) and is_plain(other)
        case _:
            return False


def named_types(source: str) -> Iterator[tuple[int, str]]:
    """Line and text of each type that is named to msgspec and is neither plain nor ready."""
    for call in ast.walk(ast.parse(source)):
        if not isinstance(call, ast.Call):
            continue
        asked = re.fullmatch(
            r"(?:msgspec\.)?(?:(?:json|msgpack|yaml|toml)\.)?(decode|convert|Decoder)", ast.unparse(call.func)
        )
        if asked is None:
            continue
        place = {"decode": None, "convert": 1, "Decoder": 0}[asked[1]]
        kinds = [word.value for word in call.keywords if word.arg == "type"]
        kinds += call.args[place : place + 1] if place is not None else []
        for kind in kinds:
            is_ready = isinstance(kind, ast.Call) and ast.unparse(kind.func) == "ready"
            if not is_plain(kind) and not is_ready:
                yield kind.lineno, ast.unparse(kind)


def test_every_type_that_msgspec_is_given_is_ready() -> None:
    found = [
        f"{path.relative_to(PACKAGE)}:{line}: ready({text})"
        for path in sorted(PACKAGE.rglob("*.py"))
        if "templates" not in path.parts
        for line, text in named_types(path.read_text(encoding="utf-8"))
        if text not in KNOWN.get(str(path.relative_to(PACKAGE)), ())
    ]
    assert not found, "`perennial.store.decoding.ready` says why:\n" + "\n".join(found)


def test_what_is_not_ready_is_found() -> None:
    source = "msgspec.convert(x, Told)\nmsgspec.json.decode(x, type=list[Told])\nmsgspec.msgpack.Decoder(Told | None)"
    assert [line for line, _ in named_types(source)] == [1, 2, 3]
    assert not list(named_types("msgspec.convert(x, ready(Told))\nmsgspec.json.decode(x, type=dict[str, Any])"))
