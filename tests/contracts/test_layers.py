"""The order of the rooms: imports point downwards only, and few rooms touch the disk.

The rules are read off the syntax tree, so an import inside a function or under TYPE_CHECKING counts as well.
A failing test prints `file:line`, what stands there, and the rule.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

import perennial

PACKAGE = Path(perennial.__file__).parent

# From the top down. Rooms in one row do not know each other.
ROWS = (
    ("cli", "api", "ui", "demo"),
    ("supervise",),
    ("workspace",),
    ("system",),
    ("renew",),
    ("deploy", "monitor", "label"),
    ("capture",),
    ("serve",),
    ("registry", "evaluate"),
    ("models",),
    ("tracking", "pipeline"),
    ("data",),
    ("loop",),
    ("templates",),
    ("store",),
    ("stats",),
    ("errors", "types", "clock", "ids", "config"),
)
GROUND = frozenset(ROWS[-1])
DEPTH = {room: depth for depth, row in enumerate(ROWS) for room in row}

# The ways in are one row, yet the table of operations is written once, in `api`: a command calls an operation through
# the remote client that derives from that table, a page shows what an operation answers, and the demo is a client like
# any other that the command line starts.
NEIGHBOURS = {("cli", "api"), ("ui", "api"), ("demo", "api"), ("cli", "demo")}

# Not rooms: the package itself resolves its public names late, `__main__` starts the command line, `testing` is for
# the tests of others and imported by no room.
OUTSIDE = frozenset({"__init__", "__main__", "testing"})

# May import the standard library, and of us only what is named here.
STANDARD_LIBRARY_ONLY = {"loop": GROUND | {"loop"}, **dict.fromkeys(GROUND, GROUND)}
STATS_MAY = frozenset({"numpy", "scipy"})
SERVE_MAY_NOT = frozenset({"sqlalchemy", "alembic", "sqlite3", "psycopg"})

# file -> why it may write without `store`.
MAY_WRITE: dict[str, str] = {
    "data/sources/databases.py": "reads a database of the user's as a source; nothing of ours lies there",
    "tracking/importing/mlflow_sqlite.py": "reads the database of an MLflow server; nothing of ours lies there",
}

# fmt: off
OS_WRITES = frozenset({
    "chmod", "link", "makedirs", "mkdir", "mkfifo", "mknod", "remove", "removedirs", "rename", "renames", "replace",
    "rmdir", "symlink", "truncate", "unlink",
})
SHUTIL_WRITES = frozenset({
    "copy", "copy2", "copyfile", "copyfileobj", "copymode", "copystat", "copytree", "make_archive", "move", "rmtree",
})
PATH_WRITES = frozenset({
    "hardlink_to", "mkdir", "rmdir", "symlink_to", "touch", "unlink", "write_bytes", "write_text",
})
# fmt: on
DATABASES = frozenset({"sqlite3.connect", "sqlalchemy.create_engine", "psycopg.connect"})


@dataclass(frozen=True)
class Import:
    file: str
    line: int
    module: str  # in full: `perennial.store.objects`, `numpy.linalg`
    room: str  # the room in which it stands

    @property
    def top(self) -> str:
        return self.module.partition(".")[0]

    @property
    def imported_room(self) -> str:
        """The room of ours that is imported; empty for the package itself and for what is not ours."""
        parts = self.module.split(".")
        return parts[1] if parts[0] == "perennial" and len(parts) > 1 else ""


def sources() -> list[Path]:
    return sorted(path for path in PACKAGE.rglob("*.py") if "templates" not in path.relative_to(PACKAGE).parts)


def name_of(path: Path) -> str:
    return path.relative_to(PACKAGE).as_posix()


def room_of(path: Path) -> str:
    first = path.relative_to(PACKAGE).parts[0]
    return first.removesuffix(".py")


@cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


@cache
def all_imports() -> tuple[Import, ...]:
    return tuple(found for path in sources() for found in imports_in(tree_of(path), path))


def imports_in(tree: ast.Module, path: Path) -> Iterator[Import]:
    package = ("perennial", *path.relative_to(PACKAGE).parts[:-1])
    for node in ast.walk(tree):
        for module in modules_named(node, package):
            yield Import(name_of(path), node.lineno, module, room_of(path))  # type: ignore[attr-defined]


def modules_named(node: ast.AST, package: tuple[str, ...]) -> Iterator[str]:
    match node:
        case ast.Import(names=names):
            yield from (alias.name for alias in names)
        case ast.ImportFrom(module=module, names=names, level=level):
            start = ".".join(package[: len(package) - level + 1]) if level else ""
            base = ".".join(part for part in (start, module) if part)
            if base == "perennial":
                yield from (public_home(alias.name) for alias in names)
            else:
                yield base
        case ast.Call(func=func, args=[ast.Constant(value=str(module)), *_]) if named(func) in {
            "import_module",
            "importlib.import_module",
            "__import__",
        }:
            yield module
        case _:
            return


def public_home(name: str) -> str:
    """The module meant by `from perennial import <name>`: a room, or the home of a public name."""
    home = perennial._HOME.get(name)
    if home is not None:
        return home[0]
    return "perennial" if name.startswith("__") else f"perennial.{name}"


def named(node: ast.AST) -> str:
    """The dotted name written here, or empty: `os.path.join`, `open`."""
    match node:
        case ast.Name(id=name):
            return name
        case ast.Attribute(value=value, attr=attr):
            return f"{named(value)}.{attr}"
        case _:
            return ""


def refuse(found: list[str], rule: str) -> None:
    if found:
        pytest.fail("\n".join([rule, *(f"  src/perennial/{line}" for line in sorted(found))]), pytrace=False)


def against(breaks: Callable[[Import], str | None]) -> list[str]:
    """`file:line imports module: reason` for each import for which `breaks` gives a reason."""
    return [
        f"{found.file}:{found.line} imports {found.module}: {reason}"
        for found in all_imports()
        if (reason := breaks(found))
    ]


def test_every_module_stands_in_a_room() -> None:
    strays = {name_of(path) for path in sources() if room_of(path) not in DEPTH.keys() | OUTSIDE}
    refuse([f"{name}: no such room" for name in strays], "each module belongs to a room of ROWS, from the top down")


def test_imports_point_downwards_only() -> None:
    def breaks(found: Import) -> str | None:
        here, there = found.room, found.imported_room
        if not there or here not in DEPTH or here == there or (here, there) in NEIGHBOURS:
            return None
        if there in OUTSIDE:
            return f"{there} is imported by no room"
        if there not in DEPTH:
            return f"{there} is no room"
        if DEPTH[here] < DEPTH[there] or (here in GROUND and there in GROUND):
            return None
        if DEPTH[here] == DEPTH[there]:
            return f"{here} and {there} stand in one row and do not know each other; they meet in stored records"
        return f"{there} stands above {here}"

    order = " > ".join(" | ".join(row) for row in ROWS)
    refuse(against(breaks), f"imports point downwards only: {order}")


def test_main_imports_only_the_command_line() -> None:
    refuse(
        against(
            lambda found: "only cli" if found.room == "__main__" and found.imported_room not in {"", "cli"} else None
        ),
        "`python -m perennial` is the command line and nothing else",
    )


def test_loop_and_ground_import_only_the_standard_library() -> None:
    def breaks(found: Import) -> str | None:
        if found.room not in STANDARD_LIBRARY_ONLY or found.top in sys.stdlib_module_names:
            return None
        if found.top == "perennial":
            may = STANDARD_LIBRARY_ONLY[found.room]
            return None if found.imported_room in may else f"of us {found.room} may know only {', '.join(sorted(may))}"
        return "not of the standard library"

    refuse(against(breaks), "a declaration and the ground load nothing: `import perennial` must stay cheap")


def test_stats_imports_only_numpy_scipy_and_the_standard_library() -> None:
    def breaks(found: Import) -> str | None:
        if found.room != "stats" or found.top in sys.stdlib_module_names | STATS_MAY or found.imported_room == "stats":
            return None
        return "arrays in, results out: stats knows nothing of us"

    refuse(against(breaks), "stats imports only numpy, scipy and the standard library")


def test_serve_imports_no_database() -> None:
    refuse(
        against(lambda found: "a database" if found.room == "serve" and found.top in SERVE_MAY_NOT else None),
        "the prediction service needs no database to answer (test_imports.py looks at what it loads in the end)",
    )


def test_only_store_writes_files_or_opens_databases() -> None:
    found = [
        f"{name_of(path)}:{line} calls {call}"
        for path in sources()
        if room_of(path) not in {"store", "testing"} and name_of(path) not in MAY_WRITE
        for line, call in writes_in(tree_of(path))
    ]
    refuse(found, "only `store` writes files or opens databases: use store.files, or give the reason in MAY_WRITE")


def test_each_exception_is_still_needed() -> None:
    needless = [name for name in MAY_WRITE if not list(writes_in(tree_of(PACKAGE / name)))]
    refuse(
        [f"{name}: writes nothing" for name in needless], "an exception that nothing needs is deleted from MAY_WRITE"
    )


def writes_in(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """The calls that write or remove files.

    `path.rename` and `path.replace` cannot be told from a data frame's or a string's and are left to the reader;
    `os.rename` and `os.replace` are found.
    """
    aliases = dict(alias for node in ast.walk(tree) for alias in aliases_in(node))
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        written = named(node.func)
        first, _, rest = written.partition(".")
        call = ".".join(part for part in (aliases.get(first, first), rest) if part)
        module, _, attribute = call.rpartition(".")
        if (
            (module == "os" and attribute in OS_WRITES)
            or (module == "shutil" and attribute in SHUTIL_WRITES)
            or module == "tempfile"
            or (isinstance(node.func, ast.Attribute) and node.func.attr in PATH_WRITES)
            or call in DATABASES
            or opens_for_writing(node, call)
        ):
            yield node.lineno, call.lstrip(".")


def aliases_in(node: ast.AST) -> Iterator[tuple[str, str]]:
    match node:
        case ast.Import(names=names):
            yield from ((alias.asname or alias.name, alias.name) for alias in names)
        case ast.ImportFrom(module=str(module), names=names, level=0):
            yield from ((alias.asname or alias.name, f"{module}.{alias.name}") for alias in names)
        case _:
            return


def opens_for_writing(node: ast.Call, call: str) -> bool:
    if call == "os.open":
        flags = ast.dump(ast.Module([ast.Expr(value) for value in node.args[1:]], []))
        return any(flag in flags for flag in ("O_WRONLY", "O_RDWR", "O_CREAT", "O_APPEND", "O_TRUNC"))
    if not (call in {"open", "os.fdopen"} or call.endswith(".open")):
        return False
    takes_path_first = call in {"open", "os.fdopen", "io.open", "gzip.open", "bz2.open", "lzma.open"}
    modes = [*node.args[1:2], *([] if takes_path_first else node.args[:1])]
    modes += [keyword.value for keyword in node.keywords if keyword.arg == "mode"]
    return any(
        isinstance(mode, ast.Constant)
        and isinstance(mode.value, str)
        and set(mode.value) <= set("rwaxbt+")
        and bool(set(mode.value) & set("wax+"))
        for mode in modes
    )


@pytest.mark.parametrize(
    "source",
    [
        "open('f', 'w')",
        "open('f', mode='ab')",
        "path.open('r+b')",
        "import gzip\ngzip.open('f', 'wb')",
        "path.write_text('x')",
        "Path('f').mkdir()",
        "import os as o\no.replace(a, b)",
        "from os import unlink\nunlink('f')",
        "import os\nos.open('f', os.O_RDWR | os.O_CREAT)",
        "import shutil\ndef f():\n    shutil.rmtree('f')",
        "import tempfile\ntempfile.mkdtemp()",
        "import sqlalchemy as sa\nsa.create_engine('sqlite://')",
    ],
)
def test_a_write_is_found(source: str) -> None:
    assert len(list(writes_in(ast.parse(source)))) == 1


@pytest.mark.parametrize(
    "source",
    [
        "open('f')",
        "path.open('rb')",
        "text.replace('a', 'b')",
        "frame.rename({'a': 'b'})",
        "store.open(digest)",
        "open(home)",
    ],
)
def test_a_read_is_none(source: str) -> None:
    assert list(writes_in(ast.parse(source))) == []


@pytest.mark.parametrize(
    "source, module",
    [
        ("import perennial.api.client", "perennial.api.client"),
        ("from perennial import serve", "perennial.serve"),
        ("from perennial import Loop", "perennial.loop"),
        ("from perennial.store import objects", "perennial.store"),
        ("from . import spec", "perennial.serve"),
        ("from ..store import files", "perennial.store"),
        ("def f():\n    from perennial.data import frames", "perennial.data"),
        ("if TYPE_CHECKING:\n    import perennial.data", "perennial.data"),
        ("import importlib\nimportlib.import_module('perennial.cli')", "perennial.cli"),
    ],
)
def test_an_import_is_found(source: str, module: str) -> None:
    assert module in [found.module for found in imports_in(ast.parse(source), PACKAGE / "serve" / "worker.py")]
