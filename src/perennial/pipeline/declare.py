"""From a bundle to its declaration: import the loop's module from the bundle once, then remember what it declared."""

from __future__ import annotations

import inspect
import sys
import traceback
from collections.abc import Callable, Iterable
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import msgspec

from perennial import __version__
from perennial.errors import LoopError, PerennialError
from perennial.loop.declaration import Declaration
from perennial.loop.graph import check
from perennial.loop.loop import Loop
from perennial.loop.options import did_you_mean
from perennial.pipeline.bundle import Bundle
from perennial.pipeline.code import Code
from perennial.pipeline.modules import BundleModules, user_line
from perennial.types import canonical_json

if TYPE_CHECKING:
    from perennial.store.files import Files
    from perennial.store.objects import ObjectStore

__all__ = ["declare"]

PUBLIC = ("Loop", "fallback", "guard", "require", "retrain", "rollout")  # what a loop file imports from perennial


def declare(
    bundle: Bundle, folder: Path, project: Path, objects: ObjectStore, *, files: Files | None = None
) -> Declaration:
    """The checked declaration of the loop in this bundle.

    What an earlier call found is remembered beside the bundle's folder, so that an unchanged loop is not imported.

    Args:
        bundle: The code.
        folder: Where it is materialised.
        project: The user's folder, which is the current folder while the module is imported.
        objects: Where the bundle's files are.
        files: How to write.

    Raises:
        LoopError: The module does not import, declares no loop or several, or its steps do not fit; names the line.
        Conflict: This process is running a loop already.
    """
    remembered = folder.with_name(f"{folder.name}.json")
    made_by = {"perennial": __version__, "python": list(sys.version_info[:2])}
    found = _remembered(remembered, made_by)
    if found is not None:
        return found
    declaration = _import(bundle, Code.of(bundle, objects), folder, project)
    check(declaration)
    if files is None:
        from perennial.store.files import LocalFiles

        files = LocalFiles()
    files.write_atomic(remembered, canonical_json({"made_by": made_by, "declaration": declaration.to_json()}))
    return declaration


def _remembered(path: Path, made_by: dict[str, Any]) -> Declaration | None:
    """What was declared before; None when it is not known, or was written by another version or cut short."""
    try:
        stored = msgspec.json.decode(path.read_bytes())
        return Declaration.from_json(stored["declaration"]) if stored["made_by"] == made_by else None
    except (OSError, msgspec.DecodeError, KeyError, TypeError):
        return None


def _import(bundle: Bundle, code: Code, folder: Path, project: Path) -> Declaration:
    file = bundle.modules[bundle.module]
    with BundleModules(code, folder, project, bundle.roots, whole=True) as modules:
        place: list[str] = []
        try:
            with user_line(modules, place):
                module = import_module(bundle.module)
        except PerennialError:
            raise  # Loop, require, rollout and retrain say themselves what is wrong where
        except (Exception, SystemExit) as error:  # whatever the user's module raises is about the loop file
            raise LoopError(
                f"{file} does not import: {traceback.format_exception_only(error)[-1].strip()}",
                where=(place or [f"{file}:1"])[0],
                remedy=_import_remedy(error),
            ) from error
        return _only_loop(vars(module), file, code.paths.values())


def _only_loop(namespace: dict[str, Any], file: str, paths: Iterable[str]) -> Declaration:
    loops = {id(value): (name, value) for name, value in namespace.items() if isinstance(value, Loop)}
    if not loops:
        remedy = 'write: from perennial import Loop, and loop = Loop("name", target="...")'
        raise LoopError(f"{file} declares no loop", where=f"{file}:1", remedy=remedy)
    if len(loops) > 1:
        names = " and ".join(sorted(name for name, _ in loops.values()))
        remedy = "give each a file of its own"
        raise LoopError(f"{file} declares several loops: {names}", where=f"{file}:1", remedy=remedy)
    loop: Loop = next(iter(loops.values()))[1]
    declaration, functions = loop.declaration(), loop.functions()
    for step in declaration.steps:
        if step.file not in paths:
            raise LoopError(
                f"step {step.name!r} is not in the project",
                where=step.where,
                remedy=f"call it from a function of your own: def {step.name}(...): return ...",
            )
        _check_findable(step.name, step.where, functions[step.name])
    return declaration


def _check_findable(name: str, where: str, function: Callable[..., Any]) -> None:
    """A step is found again by its name, so that the name must still be its own when the module is done."""
    found = getattr(sys.modules[function.__module__], name, None)
    if not callable(found) or inspect.unwrap(found) is not function:
        what = f"the name {name!r} stands for something else at the end of the file"
        raise LoopError(what, where=where, remedy="rename one of them")


def _import_remedy(error: BaseException) -> str:
    if isinstance(error, ModuleNotFoundError) and error.name:
        return f"pip install {error.name.partition('.')[0]}, or mend the name"
    if isinstance(error, NameError) and error.name:
        if error.name in PUBLIC:
            return f"write: from perennial import {error.name}"
        return did_you_mean(error.name, PUBLIC) + " Or is an import missing?"
    if isinstance(error, AttributeError) and isinstance(error.obj, ModuleType) and error.name:
        return did_you_mean(error.name, [name for name in vars(error.obj) if not name.startswith("_")])
    return "mend this line; python -c 'import loop' shows the same"
