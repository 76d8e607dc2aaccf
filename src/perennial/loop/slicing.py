"""The part of a module that some of its names need: what is fingerprinted, run for a step, and packaged for serving.

A module is taken as its top-level statements (an import of several names counts as several). A statement is kept if

- it binds a name that is wanted, or that a kept statement may read: anywhere in it, also inside functions and
  annotations, and variables named in texts, as in `frame.query("age > @LIMIT")`;
- it is there to act: a bare call, an assignment to an attribute or item, an import or a registered definition that
  nothing refers to. Whatever it acts on, it may matter;
- it calls something when the module is run and can reach a kept variable, class or decorated function that way, so that
  it may change it; or it reads a kept name whose value changes while the module runs.

Where reading cannot tell (`exec`, `globals()`, a star import, a module-level `__getattr__`, ...) everything is kept:
a slice may be larger than needed, never smaller. So slices can also be run one after the other in one namespace. Left
out are the loop's own decorators and declarations, docstrings, and `if __name__ == "__main__"`. One limit is accepted:
a class that registers itself by nothing but inheriting from a library's class is not seen to act.
"""

from __future__ import annotations

import ast
import builtins
import re
import symtable
import sys
from collections.abc import Iterable, Iterator, Set
from functools import cached_property

__all__ = ["Module", "Unit", "slice_module"]

_DYNAMIC = frozenset({"globals", "locals", "vars", "eval", "exec", "compile", "__import__"})
_IMPORTERS = frozenset({"import_module", "__import__", "exec", "eval", "run_path", "run_module", "iter_modules"})
_SHOWS_NAMES = _IMPORTERS - {"eval", "exec"} | {"_getframe", "currentframe", "__globals__", "f_globals", "f_locals"}
_REGISTERING = frozenset({"atexit", "signal", "builtins", "sys"})  # standard modules whose decorators act
_WORD = re.compile(r"[A-Za-z_]\w*")
_FIXED = (ast.Constant, ast.Tuple, ast.UnaryOp, ast.BinOp, ast.operator, ast.unaryop, ast.expr_context)
_Function = ast.FunctionDef | ast.AsyncFunctionDef
_Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


def slice_module(source: str, roots: Set[str], loop_variable: str | None = None) -> str:
    """The source of what these names need, comments and formatting normalised.

    Raises:
        SyntaxError: The source does not parse.

    >>> slice_module("import os, sys\\ndef a(): return b()  # here\\ndef b(): return sys.path\\nX = os.name", {"b"})
    'import sys\\ndef b():\\n    return sys.path\\n'
    """
    module = Module(source, loop_variables={loop_variable} if loop_variable else frozenset())
    return module.text(module.select(roots))


class Unit:
    """One top-level statement: `node` as it is run, `bare` without docstrings, as it is read and compared.

    `is_step` says that the loop marked it, `is_dropped` that it only declares something about the loop.
    """

    def __init__(self, node: ast.stmt, bare: ast.stmt, *, is_step: bool, is_dropped: bool) -> None:
        self.node = node
        self.bare = bare
        self.is_step = is_step
        self.is_dropped = is_dropped
        self.is_import = isinstance(node, ast.Import | ast.ImportFrom)
        self.is_star = isinstance(node, ast.ImportFrom) and node.names[0].name == "*"
        self.is_future = isinstance(node, ast.ImportFrom) and node.module == "__future__"

    @cached_property
    def text(self) -> str:
        return ast.unparse(self.bare)

    @property
    def binds(self) -> frozenset[str]:
        """Module-level names that it may bind."""
        return self._names[0]

    @property
    def reads(self) -> frozenset[str]:
        """Module-level names that it may read, when it runs or later."""
        return self._names[1]

    @cached_property
    def words(self) -> frozenset[str]:
        """Words in its texts."""
        texts = (node.value for node in ast.walk(self.bare) if isinstance(node, ast.Constant))
        return frozenset(word for text in texts if isinstance(text, str) for word in _WORD.findall(text))

    @cached_property
    def imported_from(self) -> str:
        """The top-level package that an import takes from; "." for a relative one, "" for other statements."""
        if isinstance(self.node, ast.Import):
            return self.node.names[0].name.partition(".")[0]
        if isinstance(self.node, ast.ImportFrom):
            return "." if self.node.level else (self.node.module or "").partition(".")[0]
        return ""

    @cached_property
    def acts(self) -> bool:
        """Whether running it may change something other than the names it binds."""
        return not self.is_import and any(
            isinstance(node, ast.Call | ast.With | ast.AsyncWith)
            or _is_store_into(node)
            or (isinstance(node, _Definition) and bool(node.decorator_list))
            or (isinstance(node, ast.ClassDef) and bool(node.bases or node.keywords))
            for node in self._run_at_once
        )

    @cached_property
    def only_acts(self) -> bool:
        """Whether it has a part that binds nothing, so that it must be there for what it does."""
        if self.is_import or isinstance(self.node, _Definition | ast.Pass):
            return False
        parts = self._run_at_once
        return not self.binds or any(isinstance(n, ast.Expr | ast.Assert) or _is_store_into(n) for n in parts)

    @property
    def calls_only(self) -> bool:
        """Whether it is there to act, and calls something for that."""
        return self.only_acts and self.acts

    @cached_property
    def imports(self) -> bool:
        """Whether running it imports something."""
        return any(isinstance(node, ast.Import | ast.ImportFrom) for node in self._run_at_once)

    @cached_property
    def is_inert(self) -> bool:
        """Whether running it reads nothing: a function without decorators and without names in its defaults."""
        return isinstance(self.node, _Function) and not any(
            isinstance(node, ast.Name) for part in _signature(self.node) for node in ast.walk(part)
        )

    @cached_property
    def is_constant(self) -> bool:
        """Whether it binds values that nothing can change: numbers, texts, tuples of them."""
        value = self.node.value if isinstance(self.node, ast.Assign | ast.AnnAssign) else None
        return value is not None and all(isinstance(node, _FIXED) for node in ast.walk(value))

    @cached_property
    def is_dynamic(self) -> bool:
        """Whether it may use names of its module that its text does not show."""
        return (
            self.is_star
            or "__getattr__" in self.binds
            or self.imports_dynamically
            or bool(self.reads & _DYNAMIC)
            or any(_attribute_of(node, "sys", "modules") for node in ast.walk(self.node))
            or bool(self._attributes & _SHOWS_NAMES)
        )

    @cached_property
    def imports_dynamically(self) -> bool:
        """Whether it may import modules that its text does not show."""
        return bool(self.reads & _IMPORTERS or self._attributes & (_IMPORTERS - {"eval", "exec"}))

    @cached_property
    def _attributes(self) -> frozenset[str]:
        """Attributes it asks for, with what it imports from modules."""
        walk = list(ast.walk(self.node))
        imported = (alias.name for node in walk if isinstance(node, ast.ImportFrom) for alias in node.names)
        return frozenset([node.attr for node in walk if isinstance(node, ast.Attribute)]).union(imported)

    @cached_property
    def _run_at_once(self) -> list[ast.AST]:
        """Its parts that run with the module; the bodies of functions do not."""
        found: list[ast.AST] = []
        waiting: list[ast.AST] = [self.node]
        while waiting:
            node = waiting.pop()
            found.append(node)
            if isinstance(node, _Function):
                waiting += _signature(node)
            elif isinstance(node, ast.Lambda):
                waiting.append(node.args)
            else:
                waiting += ast.iter_child_nodes(node)
        return found

    @cached_property
    def _names(self) -> tuple[frozenset[str], frozenset[str]]:
        if isinstance(self.node, ast.Import | ast.ImportFrom):
            alias = self.node.names[0]
            name = alias.asname or alias.name.partition(".")[0]
            return frozenset() if self.is_star or self.is_future else frozenset({name}), frozenset()
        binds: set[str] = set()
        reads: set[str] = set()
        table = symtable.symtable(self.text, "<statement>", "exec")
        for symbol in table.get_symbols():
            if symbol.is_assigned() or symbol.is_imported():
                binds.add(symbol.get_name())
            if symbol.is_referenced():
                reads.add(symbol.get_name())
        for scope in _scopes(table):
            for symbol in scope.get_symbols():
                # A class body looks a name up outside as long as it has not bound it.
                if symbol.is_global() or (scope.get_type() == "class" and symbol.is_referenced()):
                    reads.add(symbol.get_name())
                if symbol.is_declared_global() and symbol.is_assigned():
                    binds.add(symbol.get_name())
        for annotation in _annotations(self.bare):
            reads.update(_WORD.findall(annotation))
        return frozenset(binds), frozenset(reads)


class Module:
    """A module's statements, and which of them its names need. Not safe for concurrent use.

    Args:
        source: Of the module.
        loop_variables: What its loops are called.
        projects: Top-level names of the project's own modules: what is imported from them can be state of ours.

    Raises:
        SyntaxError: The source does not parse.
    """

    def __init__(
        self, source: str, *, loop_variables: Set[str] = frozenset(), projects: Set[str] = frozenset()
    ) -> None:
        units = list(_units(source, loop_variables))
        self.units = [unit for unit in units if not unit.is_dropped]
        self._projects = projects | {"."}
        self._binders: dict[str, list[int]] = {}
        for index, unit in enumerate(self.units):
            for name in unit.binds:
                self._binders.setdefault(name, []).append(index)
        self._loops = {index for name in loop_variables for index in self._binders.get(name, ())}
        self._dropped_reads = frozenset(name for unit in units if unit.is_dropped for name in unit.reads)
        self._selected: dict[frozenset[str], frozenset[int]] = {}

    @property
    def names(self) -> Set[str]:
        """Every name that the module binds."""
        return self._binders.keys()

    @cached_property
    def everything(self) -> frozenset[int]:
        """All statements."""
        return frozenset(range(len(self.units)))

    def select(self, roots: Iterable[str]) -> frozenset[int]:
        """Indices of the statements that these names need, and of those that are there to act."""
        wanted = frozenset(roots)
        if wanted not in self._selected:
            self._selected[wanted] = self._select(wanted)
        return self._selected[wanted]

    def text(self, selected: Iterable[int]) -> str:
        """The source of these statements, in the module's order."""
        return "".join(self.units[index].text + "\n" for index in sorted(selected))

    def _select(self, roots: frozenset[str]) -> frozenset[int]:
        kept: set[int] = set()
        names: set[str] = set()
        self._keep(self._always, kept, names)
        self._want(roots, kept, names)
        before = -1
        while before != len(kept):
            if any(self.units[index].is_dynamic for index in kept):
                return self.everything
            before = len(kept)
            changing = self._changing(kept, names)
            for index, unit in enumerate(self.units):
                if index in kept or unit.is_import or unit.is_inert or index in self._loops:
                    continue
                reach = self._reach(index)
                if reach & changing or (unit.acts and not unit.is_step and self._may_change(reach, names)):
                    self._keep([index], kept, names)
        return frozenset(kept)

    def _want(self, wanted: Iterable[str], kept: set[int], names: set[str]) -> None:
        for name in wanted:
            if name not in names and name in self._binders:
                names.add(name)
                self._keep(self._binders[name], kept, names)

    def _keep(self, indices: Iterable[int], kept: set[int], names: set[str]) -> None:
        for index in indices:
            if index not in kept:
                kept.add(index)
                # Also what it binds beside the wanted name: that is bound now, and others may change it.
                self._want(self._uses(index) | self.units[index].binds, kept, names)

    def _uses(self, index: int) -> frozenset[str]:
        return self.units[index].reads | (self.units[index].words & self._variables)

    def _reach(self, index: int) -> frozenset[str]:
        """Every name that may be read when this statement runs: those it uses, those that their makers use, ..."""
        seen: set[str] = set()
        waiting = list(self._uses(index))
        while waiting:
            name = waiting.pop()
            if name not in seen and name in self._binders:
                seen.add(name)
                waiting += [other for maker in self._binders[name] for other in self._uses(maker)]
        return frozenset(seen)

    def _may_change(self, reach: frozenset[str], names: set[str]) -> bool:
        """Whether a call that reaches these names can change a kept one, here or in a module of the project."""
        return any(self._is_state(name) for name in reach & names) or bool(
            self._origins(reach) & self._origins(names) & self._projects
        )

    def _changing(self, kept: set[int], names: set[str]) -> frozenset[str]:
        """Kept names that do not stand for the same thing throughout the run of the module."""
        acted_on = {name for i in kept if self.units[i].acts for name in self._reach(i) if i not in self._binders[name]}
        # A bare call may change what a library keeps for itself, as `numpy.random.seed(1)` does.
        libraries = self._origins(name for i in kept if self.units[i].calls_only for name in self._reach(i))
        return frozenset(
            name
            for name in names
            if (len(self._binders[name]) > 1 and not all(self.units[i].is_import for i in self._binders[name]))
            or (name in acted_on and self._is_state(name))
            or libraries & self._origins([name])
        )

    def _origins(self, names: Iterable[str]) -> set[str]:
        return {origin for name in names for i in self._binders[name] if (origin := self.units[i].imported_from)}

    def _is_state(self, name: str) -> bool:
        """Whether others can change what it stands for: not a constant, an import or a plain function."""
        return not all(
            unit.is_constant or unit.is_import or unit.is_step or unit.is_inert
            for unit in (self.units[index] for index in self._binders[name])
        )

    @cached_property
    def _variables(self) -> frozenset[str]:
        """Names that are neither imports nor definitions."""
        return frozenset(
            name
            for name, makers in self._binders.items()
            if any(not self.units[i].is_import and not isinstance(self.units[i].node, _Definition) for i in makers)
        )

    @cached_property
    def _always(self) -> frozenset[int]:
        read = self._dropped_reads.union(*(self._uses(index) for index in range(len(self.units))))
        # What is imported beside a name that is used was not imported for its effect.
        for_names = {_module_of(unit.node) for unit in self.units if unit.binds & read} - {None}
        return frozenset(
            index
            for index, unit in enumerate(self.units)
            if unit.is_future
            or unit.is_star
            or unit.only_acts
            or (unit.imports and not unit.binds & read and _module_of(unit.node) not in for_names)
            or (not unit.is_step and not unit.binds & read and self._is_registered(unit))
        )

    def _is_registered(self, unit: Unit) -> bool:
        """Whether a definition is handed to somebody, by a decorator that is not known to do nothing of the kind."""
        return isinstance(unit.node, _Definition) and not all(map(self._is_harmless, unit.node.decorator_list))

    def _is_harmless(self, decorator: ast.expr) -> bool:
        name = _first_name(decorator)
        if name not in self._binders:
            return hasattr(builtins, name)
        origins = self._origins([name])
        return bool(origins) and origins <= sys.stdlib_module_names - _REGISTERING


def _units(source: str, loop_variables: Set[str]) -> Iterator[Unit]:
    tree, bare = ast.parse(source), ast.parse(source)
    if "__doc__" not in source:
        for node in ast.walk(bare):
            if isinstance(node, _Definition) and ast.get_docstring(node, clean=False) is not None:
                node.body = node.body[1:] or [ast.Pass()]
    for run, read in zip(tree.body, bare.body, strict=True):
        if isinstance(run, ast.Expr) and isinstance(run.value, ast.Constant):
            continue  # the module's docstring, or a text that serves as a comment
        is_step = False
        for node in (run, read):
            if isinstance(node, _Definition):
                others = [item for item in node.decorator_list if not _is_about_loop(item, loop_variables)]
                is_step = len(others) < len(node.decorator_list)
                node.decorator_list = others
        dropped = _is_main_guard(run) or (isinstance(run, ast.Expr) and _is_about_loop(run.value, loop_variables))
        for one_run, one_read in zip(_one_by_one(run), _one_by_one(read), strict=True):
            yield Unit(one_run, one_read, is_step=is_step, is_dropped=dropped)


def _one_by_one(node: ast.stmt) -> Iterator[ast.stmt]:
    """An import of several names as several imports."""
    if isinstance(node, ast.Import | ast.ImportFrom) and len(node.names) > 1:
        for alias in node.names:
            one = (
                ast.Import([alias])
                if isinstance(node, ast.Import)
                else ast.ImportFrom(node.module, [alias], node.level)
            )
            yield ast.copy_location(one, node)
    else:
        yield node


def _is_about_loop(node: ast.expr, loop_variables: Set[str]) -> bool:
    call = node.func if isinstance(node, ast.Call) else node
    return isinstance(call, ast.Attribute) and isinstance(call.value, ast.Name) and call.value.id in loop_variables


def _is_main_guard(node: ast.stmt) -> bool:
    return isinstance(node, ast.If) and not node.orelse and ast.unparse(node.test) == "__name__ == '__main__'"


def _is_store_into(node: ast.AST) -> bool:
    return isinstance(node, ast.Attribute | ast.Subscript) and not isinstance(node.ctx, ast.Load)


def _attribute_of(node: ast.AST, owner: str, attribute: str) -> bool:
    if isinstance(node, ast.ImportFrom):
        return node.module == owner and any(alias.name == attribute for alias in node.names)
    return (
        isinstance(node, ast.Attribute)
        and node.attr == attribute
        and isinstance(node.value, ast.Name)
        and node.value.id == owner
    )


def _module_of(node: ast.stmt) -> tuple[str | None, int] | None:
    return (node.module, node.level) if isinstance(node, ast.ImportFrom) else None


def _signature(node: _Function) -> list[ast.AST]:
    """What of a function's definition runs with the module, annotations aside."""
    return [*node.decorator_list, *node.args.defaults, *(default for default in node.args.kw_defaults if default)]


def _first_name(node: ast.expr) -> str:
    while isinstance(node, ast.Call | ast.Attribute | ast.Subscript):
        node = node.func if isinstance(node, ast.Call) else node.value
    return node.id if isinstance(node, ast.Name) else ""


def _scopes(table: symtable.SymbolTable) -> Iterator[symtable.SymbolTable]:
    for child in table.get_children():
        yield child
        yield from _scopes(child)


def _annotations(tree: ast.AST) -> Iterator[str]:
    """Annotations that are written as texts."""
    for node in ast.walk(tree):
        annotation = node.returns if isinstance(node, _Function) else getattr(node, "annotation", None)
        for part in ast.walk(annotation) if annotation is not None else ():
            if isinstance(part, ast.Constant) and isinstance(part.value, str):
                yield part.value
