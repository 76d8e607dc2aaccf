"""A bundle's modules, run statement by statement as they are needed.

While installed, an import of a project module gives the bundle's, never the work tree's. Importing it runs what is
there to act; asking it for a name runs what that name needs (see `loop.slicing`), once. So a step imports no library
that only another step uses, and a class is one class however many steps use it.

Files are named as in the project, so that a traceback and `__file__` lead to what the user wrote.
"""

from __future__ import annotations

import ast
import linecache
import os
import sys
import threading
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import CodeType, ModuleType, TracebackType
from typing import Any

from perennial.errors import Conflict
from perennial.pipeline.code import Code, Slice

__all__ = ["BundleModules", "user_line"]

_one_at_a_time = threading.Lock()


class _SlicedModule(ModuleType):
    """A module whose statements run when one of their names is asked for."""

    __slots__ = ("_bundle",)  # not among the names of the user's module

    def __init__(self, name: str, bundle: BundleModules) -> None:
        object.__setattr__(self, "_bundle", bundle)
        super().__init__(name)

    def __getattr__(self, name: str) -> Any:
        if self._bundle.provide(self, name):
            return self.__dict__[name]
        if "__getattr__" not in self.__dict__ and self._bundle.provide(self, "__getattr__"):
            return getattr(self, name)  # the module's own
        raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}", name=name, obj=self)

    def __setattr__(self, name: str, value: Any) -> None:
        # What the module itself binds comes first, or it would later undo this. Only a submodule, which the import
        # system sets, gives way to a name of its package.
        is_submodule = isinstance(value, ModuleType) and value.__name__ == f"{self.__name__}.{name}"
        if not is_submodule and not name.startswith("__") and name not in self.__dict__:
            self._bundle.provide(self, name)
        super().__setattr__(name, value)
        if is_submodule:
            self._bundle.provide(self, name)

    def __dir__(self) -> Iterable[str]:
        return sorted({*super().__dir__(), *self._bundle.code.module(self.__name__).names})


class BundleModules(MetaPathFinder, Loader):
    """The modules of a bundle, to be used as a context manager, once at a time in a process.

    The current folder is the project while it is installed.

    Args:
        code: Of the bundle.
        folder: Where the bundle is materialised, for processes that the user's code starts.
        project: The user's folder.
        roots: Folders from which modules are imported, relative to both.
        whole: Run modules as they stand, the loop's declarations too.
    """

    def __init__(self, code: Code, folder: Path, project: Path, roots: Iterable[str], *, whole: bool = False) -> None:
        self.code = code
        self._project = project
        self._paths = [str(folder / root) for root in roots]
        self._whole = whole
        self._needed_whole: set[str] = set()
        self._ran: dict[str, set[int]] = {}
        self._lock = threading.RLock()
        self._before: dict[str, ModuleType] = {}
        self._folder = ""

    def __enter__(self) -> BundleModules:
        if not _one_at_a_time.acquire(blocking=False):
            raise Conflict("this process is running a loop already", remedy="wait for it, or use another process")
        names = {*self.code.sources, *self.code.namespaces}
        self._before = {name: sys.modules.pop(name) for name in names if name in sys.modules}
        self._folder = str(Path.cwd())
        os.chdir(self._project)
        sys.path[:0] = self._paths
        sys.meta_path.insert(0, self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        sys.meta_path.remove(self)
        for path in self._paths:
            sys.path.remove(path)
        for name in (*self.code.sources, *self.code.namespaces):
            sys.modules.pop(name, None)
        sys.modules.update(self._before)
        os.chdir(self._folder)
        _one_at_a_time.release()

    def need(self, part: Slice) -> None:
        """Prepare for code that needs these statements: a module of which it needs all is then run whole."""
        self._needed_whole |= {
            name for name, chosen in part.statements.items() if chosen == self.code.module(name).everything
        }

    def file(self, module: str) -> str:
        """Where the module lies in the project."""
        return str(self._project / self.code.paths[module])

    def provide(self, module: ModuleType, name: str) -> bool:
        """Run what this name of the module needs; says whether the module has it now."""
        if self._whole or name not in self.code.module(module.__name__).names:
            return False
        self._run(module, [name])
        return name in module.__dict__

    # The import protocol.

    def find_spec(self, fullname: str, path: object = None, target: ModuleType | None = None) -> ModuleSpec | None:
        if fullname in self.code.namespaces:
            spec = ModuleSpec(fullname, self, is_package=True)
            spec.submodule_search_locations = []
            return spec
        if fullname not in self.code.sources:
            return None
        file = self.file(fullname)
        spec = ModuleSpec(fullname, self, origin=file, is_package=self.code.is_package(fullname))
        spec.has_location = True
        if spec.submodule_search_locations is not None:
            spec.submodule_search_locations = [str(Path(file).parent)]
        return spec

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        if self._whole or spec.name in self.code.namespaces:
            return None
        return _SlicedModule(spec.name, self)

    def exec_module(self, module: ModuleType) -> None:
        name = module.__name__
        if name in self.code.namespaces:
            return
        file, source = self.file(name), self.code.sources[name]
        linecache.cache[file] = (len(source), None, source.splitlines(keepends=True), file)
        if self._whole:
            _execute(compile(source, file, "exec", dont_inherit=True), module)
        else:
            self._run(module, [])

    def _run(self, module: ModuleType, names: Iterable[str]) -> None:
        name = module.__name__
        units = self.code.module(name)
        with self._lock:
            ran = self._ran.setdefault(name, set())
            futures = [unit.node for unit in units.units if unit.is_future]
            chosen = units.everything if name in self._needed_whole else units.select(names)
            for index in sorted(chosen):
                if index in ran:  # asked again, for one statement may ask for more of this module
                    continue
                ran.add(index)
                tree = ast.Module([*futures, units.units[index].node], [])
                try:
                    _execute(compile(tree, self.file(name), "exec", dont_inherit=True), module)
                except BaseException:
                    ran.discard(index)
                    raise


def _execute(code: CodeType, module: ModuleType) -> None:
    exec(code, module.__dict__)  # noqa: S102  running the user's code from their bundle is what a run is


@contextmanager
def user_line(modules: BundleModules, place: list[str]) -> Generator[None]:
    """Put into `place`, when the code inside raises, the user's line that was being run, as `loop.py:12`."""
    try:
        yield
    except BaseException as error:
        files = {modules.file(name): path for name, path in modules.code.paths.items()}
        trace = error.__traceback__
        while trace is not None:
            path = files.get(trace.tb_frame.f_code.co_filename)
            if path is not None:
                place[:] = [f"{path}:{trace.tb_lineno}"]
            trace = trace.tb_next
        raise
