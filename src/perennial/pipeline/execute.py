"""Run steps of a loop in this process, from its bundle: what is unchanged is taken from the cache.

An `Execution` knows how to run one step and what its result depends on. What happens between steps (versions of data,
splitting) and where results are recorded is the caller's: it hands in values and listens.
"""

from __future__ import annotations

import random
import traceback
from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Protocol

from perennial.clock import Clock, SystemClock
from perennial.errors import ConfigError, DataError, PerennialError, UserCodeError
from perennial.loop.declaration import Declaration, StepSpec
from perennial.pipeline.bundle import Bundle
from perennial.pipeline.code import Code, Slice
from perennial.pipeline.fingerprint import fingerprint
from perennial.pipeline.libraries import versions_of
from perennial.pipeline.modules import BundleModules, user_line
from perennial.pipeline.step_log import Mask, StepLog
from perennial.pipeline.values import Names, Value, load_value, referenced, store_value, table_value
from perennial.types import JSON, Digest, Micros

if TYPE_CHECKING:
    from perennial.store.objects import ObjectStore

__all__ = ["Cache", "Cached", "Execution", "Listener", "StepOutcome"]


_OURS = str(Path(__file__).parents[1])


@dataclass(frozen=True)
class Cached:
    """A result that an earlier run, `run_id`, made."""

    value: Value
    run_id: str


class Cache(Protocol):
    """Results by fingerprint. What the listener records of a finished step is what is found here later."""

    def get(self, fingerprint: Digest) -> Cached | None: ...


@dataclass(frozen=True, kw_only=True)
class StepOutcome:
    """How a step ended. A collect has no fingerprint, as it always runs, and no value: its data get a version."""

    name: str
    fingerprint: Digest | None
    state: Literal["done", "cached", "failed"]
    value: Value | None = None
    cached_from: str | None = None
    log: Digest | None = None
    error: str | None = None
    started: Micros
    ended: Micros


class Listener(Protocol):
    """Is told what happens, on the thread that runs the steps."""

    def step_started(self, name: str) -> None: ...
    def step_ended(self, outcome: StepOutcome) -> None: ...


class Execution:
    """A bundle being run, as a context manager; one at a time in a process.

    Args:
        bundle: The code.
        declaration: Of its loop.
        folder: Where the bundle is materialised.
        project: The user's folder; the current folder while steps run.
        objects: Where code, results and logs are.
        cache: Results of earlier runs.
        listener: Is told of each step.
        params: Parameters by step (`graph.bind_params`); the defaults when left out.
        seed: For `random` and `numpy.random`, set anew before each step.
        environment: Where secrets are looked up.
        clock: Stamps the outcomes.
    """

    def __init__(
        self,
        *,
        bundle: Bundle,
        declaration: Declaration,
        folder: Path,
        project: Path,
        objects: ObjectStore,
        cache: Cache,
        listener: Listener,
        params: Mapping[str, Mapping[str, JSON]] | None = None,
        seed: int = 0,
        environment: Mapping[str, str],
        clock: Clock | None = None,
    ) -> None:
        self.declaration = declaration
        self.code = Code.of(bundle, objects, declaration)
        self._modules = BundleModules(self.code, folder, project, bundle.roots)
        self._objects = objects
        self._cache = cache
        self._listener = listener
        self._params = params or {}
        self._seed = seed
        self._environment = environment
        self._clock = clock or SystemClock()
        secrets = {name for step in declaration.steps for name in step.secrets}
        self.mask = Mask(environment[name] for name in secrets if name in environment)

    def __enter__(self) -> Execution:
        for step in self.declaration.steps:
            missing = [name for name in step.secrets if name not in self._environment]
            if missing:
                raise ConfigError(
                    f"step {step.name!r} needs the secret {missing[0]}, and the environment has none of that name",
                    where=step.where,
                    remedy=f"export {missing[0]}=...",
                )
        self._modules.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._modules.__exit__(kind, value, trace)

    def collect(self, name: str, inputs: Mapping[str, Value] | None = None) -> Any:
        """Run a collect step, always, and give what it returned.

        Raises:
            UserCodeError: The function raised; `where` is the user's line.
            DataError: It returned nothing.
        """
        return self._call(self.declaration.step(name), inputs or {}, None, lambda _: None)

    def step(self, name: str, inputs: Mapping[str, Value]) -> Value:
        """The result of a step for these inputs: from the cache, or by running it.

        Raises:
            UserCodeError: The function raised; `where` is the user's line.
            DataError: It returned nothing, or what cannot be stored.
        """
        print_ = self.fingerprint(name, inputs)
        cached = self._cache.get(print_)
        if cached is not None and self._objects.has(cached.value.digest):
            now = self._clock.now()
            self._listener.step_ended(
                StepOutcome(
                    name=name,
                    fingerprint=print_,
                    state="cached",
                    value=cached.value,
                    cached_from=cached.run_id,
                    started=now,
                    ended=now,
                )
            )
            return cached.value
        return self._call(self.declaration.step(name), inputs, print_, self.store)

    def run(self, names: Iterable[str], values: Mapping[str, Value]) -> dict[str, Value]:
        """Run steps one after the other, each on `values` and the results before it; gives all of them."""
        known = dict(values)
        for name in names:
            known[name] = self.step(name, {key: known[key] for key in self.declaration.step(name).inputs})
        return known

    def fingerprint(self, name: str, inputs: Mapping[str, Value]) -> Digest:
        """What the result of a step for these inputs depends on."""
        return fingerprint(
            self.code,
            self._slice(name),
            name=name,
            inputs={key: value.logical_digest for key, value in inputs.items()},
            params=self._all_params(name),
            seed=self._seed,
        )

    def function(self, name: str) -> Callable[..., Any]:
        """The function of a step, with what it needs; parameters not given to it have their defaults.

        Raises:
            UserCodeError: The code that it needs raised.
        """
        step = self.declaration.step(name)
        self._modules.need(self._slice(name))
        with self._user_code(step):
            return getattr(import_module(self.code.module_of(step.file)), name)

    def named(self, step: str, name: str) -> Any:
        """What is called `name` at the top of the step's file.

        Raises:
            UserCodeError: The code that it needs raised.
        """
        found = self.declaration.step(step)
        module = self.code.module_of(found.file)
        self._modules.need(self.code.slice({module: {name}}))
        with self._user_code(found):
            return getattr(import_module(module), name)

    def source_of(self, file: str, name: str) -> dict[str, str]:
        """Source by path of what is called `name` at the top of a file of the project, with what it needs."""
        return self.code.texts(self.code.slice({self.code.module_of(file): {name}}))

    def user_code(self, step: str) -> AbstractContextManager[None]:
        """A block in which code of this step runs: what it raises becomes a UserCodeError that names their line."""
        return self._user_code(self.declaration.step(step))

    def stored_table(self, manifest: Digest, logical: str) -> Value:
        """A collected table as an input for steps, which get a plan over its files."""
        return table_value(manifest, logical)

    def store(self, value: object) -> Value:
        """Store a result, or another object that a step shall take."""
        return store_value(value, self._objects, projects=self.code.sources, code_of=self._source)

    def load(self, value: Value) -> Any:
        """A stored result as an object."""
        return load_value(value, self._objects)

    def sources(self, name: str, *others: object) -> dict[str, str]:
        """Source by path of what a step needs, and of what the pickles of `others` refer to; importable on its own."""
        roots = {self.code.module_of(self.declaration.step(name).file): {name}}
        for other in others:
            for module, names in referenced(other, self.code.sources).items():
                roots.setdefault(module, set()).update(names)
        return self.code.texts(self.code.slice(roots))

    def _call(
        self, step: StepSpec, inputs: Mapping[str, Value], print_: Digest | None, keep: Callable[[Any], Value | None]
    ) -> Any:
        """Run a step and tell the listener; gives what `keep` made of the result, or the result if that is nothing."""
        self._listener.step_started(step.name)
        started = self._clock.now()
        log = StepLog(self.mask)
        value, failure, result = None, None, None
        try:
            with log:
                result = self._run(step, inputs)
            value = keep(result)
        except PerennialError as error:
            failure = error
            log.add(_story(error))
        outcome = StepOutcome(
            name=step.name,
            fingerprint=print_,
            state="failed" if failure else "done",
            value=value,
            log=self._objects.put(log.data()),
            error=str(failure) if failure else None,
            started=started,
            ended=self._clock.now(),
        )
        self._listener.step_ended(outcome)
        if failure:
            raise failure
        return result if value is None else value

    def _run(self, step: StepSpec, inputs: Mapping[str, Value]) -> Any:
        function = self.function(step.name)
        given = [self.load(inputs[name]) for name in step.inputs]
        params = {key: value for key, value in self._all_params(step.name).items() if value != step.params[key]}
        with self._user_code(step), _seeded(self._seed, with_numpy=bool(versions_of(self._slice(step.name).libraries))):
            result = function(*given, **params)
        if result is None:
            remedy = "return the fitted model" if step.kind == "train" else "return a data frame"
            raise DataError(f"step {step.name!r} returned nothing", where=step.where, remedy=remedy)
        return result

    @contextmanager
    def _user_code(self, step: StepSpec) -> Generator[None]:
        """Turn what the user's code raises into an error that names their line."""
        place: list[str] = []
        try:
            with user_line(self._modules, place):
                yield
        except PerennialError:
            raise
        except (Exception, SystemExit) as error:  # the user's code may raise anything; it ends this step
            last = traceback.format_exception_only(error)[-1].strip()
            raise UserCodeError(
                self.mask(f"step {step.name!r} failed: {last}"),
                where=place[0] if place else step.where,
                remedy=_remedy(error),
            ) from error

    def _slice(self, name: str) -> Slice:
        return self.code.slice({self.code.module_of(self.declaration.step(name).file): {name}})

    def _source(self, names: Names) -> str:
        return "".join(f"{path}\n{text}" for path, text in self.code.texts(self.code.slice(names)).items())

    def _all_params(self, name: str) -> dict[str, JSON]:
        return {**self.declaration.step(name).params, **self._params.get(name, {})}


@contextmanager
def _seeded(seed: int, *, with_numpy: bool) -> Generator[None]:
    """Seed the global generators, and leave them as they were. Code that imports no library cannot reach numpy's."""
    before = random.getstate()
    random.seed(seed)
    if with_numpy:
        import numpy as np

        numpy_before = np.random.get_state()
        np.random.seed(seed % 2**32)
    try:
        yield
    finally:
        random.setstate(before)
        if with_numpy:
            np.random.set_state(numpy_before)  # pyright: ignore[reportPossiblyUnboundVariable]  bound under the same condition


def _remedy(error: BaseException) -> str:
    if isinstance(error, ModuleNotFoundError) and error.name:
        return f"pip install {error.name.partition('.')[0]}"
    return "mend this line; `perennial runs list` and `perennial runs log RUN` show the whole traceback"


def _story(error: PerennialError) -> str:
    """The traceback of the user's code, without our frames; just the error when no code of theirs raised it."""
    if error.__cause__ is None:
        return f"{error}\n"
    told = traceback.TracebackException.from_exception(error.__cause__)
    told.stack = traceback.StackSummary.from_list(
        [frame for frame in told.stack if not frame.filename.startswith((_OURS, "<frozen"))]
    )
    return "".join(told.format())
