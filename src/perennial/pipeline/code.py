"""What a step needs of its project's modules, followed from module to module.

`slicing` answers for one module; here an import of a project module leads on to what is used of it. A module that is
handed around as a value, or imported by a computed name, is needed whole.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from perennial.loop.declaration import Declaration
from perennial.loop.slicing import Module, Unit
from perennial.pipeline.bundle import Bundle, imported_modules

if TYPE_CHECKING:
    from perennial.store.objects import ObjectStore

__all__ = ["Code", "Slice"]


@dataclass(frozen=True)
class Slice:
    """Part of a project's code: statements by module, and the modules of libraries that it imports."""

    statements: Mapping[str, frozenset[int]]
    libraries: frozenset[str]


class Code:
    """The modules of a bundle.

    Args:
        sources: Source of each module.
        paths: Path of each module in the project.
        variables: What the loop is called in a module.
    """

    def __init__(self, sources: Mapping[str, str], paths: Mapping[str, str], variables: Mapping[str, str]) -> None:
        self.sources = sources
        self.paths = paths
        self._variables = variables
        self._modules: dict[str, Module] = {}
        self._uses: dict[int, list[tuple[str, tuple[str, ...]]]] = {}

    @classmethod
    def of(cls, bundle: Bundle, objects: ObjectStore, declaration: Declaration | None = None) -> Code:
        """The code of a bundle; with its declaration, the loop's own decorators are no part of a step."""
        modules = {path: module for module, path in bundle.modules.items()}
        steps = declaration.steps if declaration else ()
        return cls(
            {module: objects.get(bundle.files[path]).decode() for module, path in bundle.modules.items()},
            bundle.modules,
            {modules[step.file]: step.variable for step in steps if step.variable and step.file in modules},
        )

    @cached_property
    def namespaces(self) -> frozenset[str]:
        """Packages without a file of their own."""
        parents = {name[:i] for name in self.sources for i, letter in enumerate(name) if letter == "."}
        return frozenset(parents - self.sources.keys())

    def is_package(self, module: str) -> bool:
        return module in self.namespaces or self.paths[module].endswith("__init__.py")

    def module_of(self, path: str) -> str:
        """The module in this file; KeyError when the file is not in the bundle."""
        return {path: module for module, path in self.paths.items()}[path]

    def module(self, name: str) -> Module:
        """The statements of a module, without what only declares the loop."""
        if name not in self._modules:
            variable = self._variables.get(name)
            projects = {module.partition(".")[0] for module in self.sources}
            self._modules[name] = Module(
                self.sources[name], loop_variables={variable} if variable else frozenset(), projects=projects
            )
        return self._modules[name]

    def slice(self, roots: Mapping[str, Iterable[str]]) -> Slice:
        """What these names, by module, need in all modules."""
        search = _Search(self)
        for module, names in roots.items():
            search.want(module, names)
        return search.result()

    def texts(self, part: Slice) -> dict[str, str]:
        """The source of a slice by path; these files can be imported on their own."""
        return {self.paths[name]: self.module(name).text(chosen) for name, chosen in sorted(part.statements.items())}

    def uses(self, unit: Unit) -> list[tuple[str, tuple[str, ...]]]:
        """Each name that a statement mentions, with the attributes asked of it: `a.b.c` is ("a", ("b", "c"))."""
        if id(unit) not in self._uses:
            found: list[tuple[str, tuple[str, ...]]] = []
            waiting: list[tuple[ast.AST, tuple[str, ...]]] = [(unit.node, ())]
            while waiting:
                node, attributes = waiting.pop()
                if isinstance(node, ast.Name):
                    found.append((node.id, attributes))
                elif isinstance(node, ast.Attribute):
                    waiting.append((node.value, (node.attr, *attributes)))
                else:
                    waiting += [(child, ()) for child in ast.iter_child_nodes(node)]
            self._uses[id(unit)] = found
        return self._uses[id(unit)]


class _Search:
    def __init__(self, code: Code) -> None:
        self._code = code
        self._wanted: dict[str, set[str]] = {}
        self._whole: set[str] = set()
        self._libraries: set[str] = set()
        self._grew = False

    def want(self, module: str, names: Iterable[str] | None) -> None:
        """Need these names of a project module, or all of it."""
        parent = module.rpartition(".")[0]
        if parent and parent not in self._wanted:
            self.want(parent, ())
        known = self._wanted.get(module)
        if known is None:
            known = self._wanted[module] = set()
            self._grew = True
        if module in self._code.namespaces:
            return
        if names is None:
            self._grew |= module not in self._whole
            self._whole.add(module)
        elif not known.issuperset(names):
            known.update(names)
            self._grew = True

    def result(self) -> Slice:
        selected: dict[str, frozenset[int]] = {}
        while self._grew:
            self._grew = False
            for name in [name for name in self._wanted if name not in self._code.namespaces]:
                module = self._code.module(name)
                chosen = module.everything if name in self._whole else module.select(self._wanted[name])
                if chosen != selected.get(name):
                    selected[name] = chosen
                    self._follow(name, [module.units[index] for index in chosen])
        return Slice(selected, frozenset(self._libraries))

    def _follow(self, name: str, units: list[Unit]) -> None:
        if any(unit.imports_dynamically for unit in units):
            for module in self._code.sources:
                self.want(module, None)
        uses = [use for unit in units for use in self._code.uses(unit)]
        for unit in units:
            for module, aliases in imported_modules(unit.node, name, is_package=self._code.is_package(name)):
                if not self._is_ours(module):
                    self._libraries.add(module)
                elif not aliases:
                    self._follow_import(unit, module, uses)
                for alias in aliases if self._is_ours(module) else ():
                    self._follow_from(module, alias, uses)

    def _follow_import(self, unit: Unit, module: str, uses: list[tuple[str, tuple[str, ...]]]) -> None:
        self.want(module, ())
        for node in ast.walk(unit.node):
            for alias in node.names if isinstance(node, ast.Import) else ():
                if alias.name == module:
                    start = module if alias.asname else module.partition(".")[0]
                    self._follow_uses(start, alias.asname or start, uses)

    def _follow_from(self, module: str, alias: ast.alias, uses: list[tuple[str, tuple[str, ...]]]) -> None:
        inner = f"{module}.{alias.name}"
        if alias.name == "*":
            self.want(module, None)
        elif self._is_ours(inner):
            self.want(inner, ())
            self._follow_uses(inner, alias.asname or alias.name, uses)
        if alias.name != "*" and module not in self._code.namespaces:
            self.want(module, {alias.name})  # a name of the package may stand before its submodule of that name

    def _follow_uses(self, module: str, variable: str, uses: list[tuple[str, tuple[str, ...]]]) -> None:
        for name, attributes in uses:
            if name == variable:
                self._follow_attributes(module, attributes)

    def _follow_attributes(self, module: str, attributes: tuple[str, ...]) -> None:
        for attribute in attributes:
            inner = f"{module}.{attribute}"
            if not self._is_ours(inner):
                return self.want(module, None if attribute.startswith("__") else {attribute})
            self.want(inner, ())
            self.want(module, {attribute})
            module = inner
        return self.want(module, None)

    def _is_ours(self, module: str) -> bool:
        return module in self._code.sources or module in self._code.namespaces
