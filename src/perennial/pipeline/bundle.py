"""The code of a loop as one immutable object: the loop's file, the project modules that it reaches, and the lock file.

Found by reading import statements; nothing is imported. Jobs, retraining and packages take code from here, never from
the work tree. Files that are not Python are not part of a bundle.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from perennial.errors import ConfigError, Corrupt, LoopError
from perennial.loop.slicing import Unit
from perennial.store.decoding import ready
from perennial.types import Digest, canonical_json

if TYPE_CHECKING:
    from perennial.store.files import Files
    from perennial.store.objects import ObjectStore

__all__ = ["Bundle", "imported_modules", "load_bundle", "make_bundle", "materialise"]

LOCKS = ("uv.lock", "poetry.lock", "pdm.lock", "pixi.lock", "Pipfile.lock", "requirements.lock", "requirements.txt")


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """What a bundle's object holds. Paths are relative to the project, with forward slashes."""

    format: int = 1
    module: str
    modules: dict[str, str]
    files: dict[str, str]
    roots: list[str]
    lock: str | None


@dataclass(frozen=True, kw_only=True)
class Bundle:
    """The code of a loop.

    Attributes:
        digest: Names the bundle; equal code has equal digests, wherever it lies.
        module: The loop's module.
        modules: Path of each project module.
        files: Digest of each file.
        roots: Folders from which modules are imported.
        lock: Path of the lock file, if the project has one.
    """

    digest: Digest
    module: str
    modules: Mapping[str, str]
    files: Mapping[str, Digest]
    roots: tuple[str, ...]
    lock: str | None


def make_bundle(loop_file: Path, project: Path, objects: ObjectStore) -> Bundle:
    """Store the code that this loop file reaches. The same code again stores nothing.

    Raises:
        ConfigError: There is no such file, or it lies outside the project.
        LoopError: A file does not parse; names the line.
    """
    loop_file, project = loop_file.resolve(), project.resolve()
    if not loop_file.is_file():
        raise ConfigError(
            f"there is no file {loop_file.name}", where=str(loop_file.parent), remedy="perennial init, or name the file"
        )
    if not loop_file.is_relative_to(project):
        what = f"{loop_file} is not in the project {project}"
        raise ConfigError(what, remedy="move it there, or run it from its folder")
    found = _Search(loop_file, project)
    contents = dict(found.contents)
    lock = next((name for name in LOCKS if (project / name).is_file()), None)
    if lock is not None:
        contents[lock] = (project / lock).read_bytes()
    paths = sorted(contents)
    digests = objects.put_many(contents[path] for path in paths)
    manifest = Manifest(
        module=found.module,
        modules=dict(sorted(found.modules.items())),
        files=dict(zip(paths, digests, strict=True)),
        roots=[root.relative_to(project).as_posix() for root in found.roots],
        lock=lock,
    )
    return _bundle(objects.put(canonical_json(msgspec.to_builtins(manifest))), manifest)


def load_bundle(digest: Digest, objects: ObjectStore) -> Bundle:
    """The bundle of this digest.

    Raises:
        Corrupt: The object is not the manifest of a bundle.
    """
    try:
        return _bundle(digest, msgspec.json.decode(objects.get(digest), type=ready(Manifest)))
    except msgspec.MsgspecError as error:
        raise Corrupt(f"object {digest} is not a code bundle: {error}") from error


def materialise(bundle: Bundle, objects: ObjectStore, bundles_folder: Path, *, files: Files | None = None) -> Path:
    """Write the bundle's files into a folder of its own, or check those that are there; repeatable at any point."""
    folder = bundles_folder / bundle.digest
    for path, digest in bundle.files.items():
        data, target = objects.get(digest), folder / path
        if not target.is_file() or target.read_bytes() != data:
            if files is None:
                from perennial.store.files import LocalFiles

                files = LocalFiles()
            files.mkdirs(target.parent)
            files.write_atomic(target, data)
    return folder


def imported_modules(tree: ast.AST, module: str, *, is_package: bool) -> Iterator[tuple[str, list[ast.alias]]]:
    """Every import in this code as (module, names taken from it); no names for a plain `import`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, []
        elif isinstance(node, ast.ImportFrom):
            name = node.module or ""
            if node.level:
                parents = module.split(".")
                parents = parents[: len(parents) - node.level + is_package]
                name = ".".join([*parents, *([name] if name else [])])
            yield name, node.names


class _Search:
    """Project modules that can be reached from one file."""

    def __init__(self, loop_file: Path, project: Path) -> None:
        root = loop_file.parent
        while (root / "__init__.py").is_file() and root != project:
            root = root.parent
        wanted = [root, project, project / "src"]
        self.project = project
        self.roots = [folder for i, folder in enumerate(wanted) if folder not in wanted[:i] and folder.is_dir()]
        self.module = ".".join(loop_file.relative_to(root).with_suffix("").parts)
        self.modules: dict[str, str] = {}
        self.contents: dict[str, bytes] = {}
        self._add(self.module, loop_file)

    def _reach(self, name: str) -> bool:
        """Take in this module and the packages around it, if it is the project's."""
        if name.partition(".")[0] in sys.stdlib_module_names:
            return False
        if name in self.modules:
            return True
        for root in self.roots:
            path = root.joinpath(*name.split("."))
            for file in (path / "__init__.py", path.with_suffix(".py")):
                if file.is_file():
                    parent = name.rpartition(".")[0]
                    if parent:
                        self._reach(parent)
                    self._add(name, file)
                    return True
        return False

    def _add(self, name: str, file: Path) -> None:
        if name in self.modules:
            return
        path = file.relative_to(self.project).as_posix()
        self.modules[name] = path
        self.contents[path] = file.read_bytes()
        tree = _parse(self.contents[path], path)
        for module, names in imported_modules(tree, name, is_package=file.name == "__init__.py"):
            if module:
                self._reach(module)
            for alias in names:
                self._reach(f"{module}.{alias.name}".strip("."))
        if any(Unit(node, node, is_step=False, is_dropped=False).imports_dynamically for node in tree.body):
            self._reach_all(name)

    def _reach_all(self, name: str) -> None:
        """Take in all that a computed import could mean: the module's whole package, or the modules beside it."""
        top, dot, _ = name.partition(".")
        for root in self.roots:
            folder = root / top if dot or (root / top).is_dir() else root
            for file in sorted(folder.glob("**/*.py" if folder != root else "*.py")):
                parts = file.relative_to(root).with_suffix("").parts
                if all(part.isidentifier() for part in parts):
                    self._reach(".".join(parts[:-1] if parts[-1] == "__init__" else parts))


def _parse(data: bytes, path: str) -> ast.Module:
    try:
        return ast.parse(data)
    except (SyntaxError, ValueError) as error:
        line = getattr(error, "lineno", None) or 1
        what = getattr(error, "msg", None) or str(error)
        raise LoopError(f"{path} is not Python: {what}", where=f"{path}:{line}", remedy="mend this line") from error


def _bundle(digest: Digest, manifest: Manifest) -> Bundle:
    return Bundle(
        digest=digest,
        module=manifest.module,
        modules=manifest.modules,
        files={path: Digest(content) for path, content in manifest.files.items()},
        roots=tuple(manifest.roots),
        lock=manifest.lock,
    )
