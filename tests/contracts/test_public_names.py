"""The names that users may rely on. A change here is a change for users: it needs a note in changelog.d."""

from __future__ import annotations

import ast
from importlib import import_module
from pathlib import Path

import pytest

import perennial

PACKAGE = Path(perennial.__file__).parent
# Not modules for import: the user's templates, Alembic's scripts, the command's entry.
NO_MODULES = {"templates", "migrations", "__main__.py"}
FILES = sorted(path for path in PACKAGE.rglob("*.py") if not NO_MODULES & set(path.relative_to(PACKAGE).parts))


def module_of(path: Path) -> str:
    name = ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts)
    return name.removesuffix(".__init__")


def test_the_public_names_are_these() -> None:
    names = ["Loop", "__version__", "current_run", "fallback", "guard", "open", "require", "retrain", "rollout"]
    assert sorted(perennial.__all__) == names


@pytest.mark.parametrize("name", perennial.__all__)
def test_a_public_name_resolves(name: str) -> None:
    assert getattr(perennial, name) is not None


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = perennial.no_such_name


@pytest.mark.parametrize("path", FILES, ids=module_of)
def test_a_module_says_what_is_public_and_has_it(path: Path) -> None:
    module = import_module(module_of(path))
    if path.name == "__init__.py" and only_describes(path):
        return  # a room whose parts are imported one by one, so that one of them does not load the others
    assert hasattr(module, "__all__"), f"{module.__name__} has no __all__"
    assert len(set(module.__all__)) == len(module.__all__)
    missing = [name for name in module.__all__ if not hasattr(module, name)]
    assert missing == []


def only_describes(path: Path) -> bool:
    """There is a docstring here and nothing else but the future import."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    rest = [node for node in tree.body if not isinstance(node, ast.Expr | ast.ImportFrom)]
    return not rest and all(node.module == "__future__" for node in tree.body if isinstance(node, ast.ImportFrom))
