"""`Loop`: what a user writes. It collects functions and policies and hands them out as a `Declaration`.

Functions come back unchanged, so that they can be called and tested without Perennial. Nothing is run here, and what
fits together is checked by `graph`.
"""

from __future__ import annotations

import dataclasses
import inspect
import json
import re
from collections.abc import Callable, Mapping, Sequence
from types import FunctionType
from typing import Any, Literal, TypeVar, cast, overload

from perennial.errors import LoopError
from perennial.loop.declaration import (
    BadRows,
    Declaration,
    EvaluatePolicy,
    MonitorPolicy,
    Requirement,
    RetrainPolicy,
    SplitPolicy,
    Stage,
    StepKind,
    StepSpec,
    Task,
    Trigger,
)
from perennial.loop.failsafe import (
    BreakerPolicy,
    FailSafePolicy,
    Fallback,
    Guard,
    IntervalPolicy,
    ServingPolicy,
)
from perennial.loop.options import choice, count, flag, number, seconds, text
from perennial.loop.place import place, relative, user_frame
from perennial.loop.watched import MONITORS

__all__ = ["Loop"]

_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}", re.IGNORECASE)
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_SIMPLE = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)

F = TypeVar("F", bound=Callable[..., Any])


class Loop:
    """The whole life of one model.

    Args:
        name: Of the experiment, the model and the endpoint; unique in a workspace.
        target: Column to predict.
        time: Column by which rows are ordered; the newest are held out.
        key: Column that names the entity of a row.
        task: "regression" or "classification"; guessed from the target when left out.
        positive: The class that counts as positive, of two.
        label_delay: How long after a prediction its label usually comes, a duration.
        horizon: Labels later than this are stored but no longer counted, a duration.
    """

    def __init__(
        self,
        name: str,
        *,
        target: str | None = None,
        time: str | None = None,
        key: str | None = None,
        task: Task | None = None,
        positive: str | int | bool | None = None,
        label_delay: str = "0d",
        horizon: str | None = None,
    ) -> None:
        if not isinstance(name, str) or not _NAME.fullmatch(name):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise LoopError(
                f"{name!r} cannot be the name of a loop",
                where=place(),
                remedy="use letters, digits, - and _, at most 63, starting with a letter or digit",
            )
        self.name = name
        self._columns = {
            option: None if value is None else text(option, value)
            for option, value in (("target", target), ("time", time), ("key", key))
        }
        if task is not None:
            choice("task", task, ("regression", "classification"))
        self._task: Task | None = task
        self._positive = positive
        self._label_delay_s = seconds("label_delay", label_delay)
        self._horizon_s = None if horizon is None else seconds("horizon", horizon, least=1e-3)
        frame = user_frame()
        self._file, self._line = frame.f_code.co_filename, frame.f_lineno
        self._steps: dict[str, tuple[StepSpec, FunctionType]] = {}
        self._checks: dict[str, tuple[object, ...]] = {}
        self._requirements: tuple[Requirement, ...] = ()
        self._stages: tuple[Stage, ...] = ()
        self._retrain: RetrainPolicy | None = None
        self._split: SplitPolicy | None = None
        self._evaluate: EvaluatePolicy | None = None
        self._failsafe: FailSafePolicy | None = None
        self._capture: dict[str, str] | None = None
        self._monitor: MonitorPolicy | None = None

    @overload
    def collect(self, function: F) -> F: ...
    @overload
    def collect(
        self,
        *,
        secrets: Sequence[str] = (),
        order_matters: bool = False,
        cursor: str | None = None,
        overlap: str | float | None = None,
        schema: str | None = None,
        checks: Sequence[object] = (),
        bad_rows: BadRows | None = None,
    ) -> Callable[[F], F]: ...
    def collect(
        self,
        function: F | None = None,
        *,
        secrets: Sequence[str] = (),
        order_matters: bool = False,
        cursor: str | None = None,
        overlap: str | float | None = None,
        schema: str | None = None,
        checks: Sequence[object] = (),
        bad_rows: BadRows | None = None,
    ) -> F | Callable[[F], F]:
        """Mark a function that fetches data; it runs anew at each run, and new content is a new dataset version.

        It returns a data frame, or what is read piece by piece: a source (`perennial.data.sources`), a polars plan.

        Args:
            function: When used without parentheses.
            secrets: Names of environment variables that it reads; masked in logs, never stored.
            order_matters: The same rows in another order are other data.
            cursor: Column by which new rows are told from known ones: only rows above its largest value of the last
                version are taken, and appended. A source may name its own.
            overlap: How far before that value to look again, for rows that come late: a duration such as "2h" for
                times, else a number. Known rows are dropped.
            schema: File with the schema that the rows must fit (`perennial data schema show NAME`), instead of the
                accepted one.
            checks: What must be true for each row: polars expressions with a name in this file, functions without
                arguments that give one, or functions that take a frame and give True or False for each row.
            bad_rows: What happens to rows that break with schema or checks: "quarantine" keeps them out, "stop" makes
                no version, "warn" a draft. Default: what the schema says.
        """
        if isinstance(secrets, str) or not all(_VARIABLE.fullmatch(name) for name in secrets):
            raise LoopError(
                f"secrets cannot be {secrets!r}",
                where=place(),
                remedy='give the names of environment variables, as in secrets=("DB_URL",)',
            )

        if overlap is not None and not isinstance(overlap, str):
            number("overlap", overlap, least=0)
        if bad_rows is not None:
            choice("bad_rows", bad_rows, ("warn", "quarantine", "stop"))
        options: dict[str, Any] = {
            "secrets": tuple(secrets),
            "order_matters": bool(order_matters),
            "cursor": None if cursor is None else text("cursor", cursor),
            "overlap": overlap,
            "schema": None if schema is None else text("schema", schema),
            "bad_rows": bad_rows,
        }

        def mark(function: F) -> F:
            marked = self._add("collect", function, options)
            self._checks[inspect.unwrap(function).__name__] = tuple(checks)
            return marked

        return mark if function is None else mark(function)

    def step(self, function: F) -> F:
        """Mark a function between collecting and features, for example a join; run again only when it must be."""
        return self._add("step", function)

    def features(self, function: F) -> F:
        """Mark the function that makes a model's columns, row by row, in training and in the prediction service."""
        return self._add("features", function)

    def train(self, function: F) -> F:
        """Mark the function that takes `X` and `y` and returns a fitted model; its keyword arguments are parameters."""
        return self._add("train", function)

    def split(
        self,
        *,
        by: Literal["time", "group", "random"] | None = None,
        test: float = 0.2,
        gap: str | None = None,
    ) -> None:
        """Declare which rows judge a candidate; without it the newest fifth, or a fifth of the keys or of the rows.

        Args:
            by: "time": the newest rows of the loop's time column; "group": whole values of its key; "random".
            test: Least share of the rows, in (0, 1).
            gap: Duration before the test in which no row trains, because its label was not known yet when the test
                begins. Default: the loop's `label_delay`.
        """
        if self._split is not None:
            raise LoopError("loop.split is called twice", where=place(), remedy="say it in one call")
        if by is not None:
            choice("by", by, ("time", "group", "random"))
            wanted = {"time": "time", "group": "key"}.get(by)
            if wanted is not None and self._columns[wanted] is None:
                remedy = f'name it: Loop(..., {wanted}="...")'
                raise LoopError(f"a split by {by} needs a column", where=place(), remedy=remedy)
        share = number("test", test, above=0, most=0.9)
        self._split = SplitPolicy(by=by, test=share, gap_s=None if gap is None else seconds("gap", gap))

    def evaluate(
        self,
        *,
        groups: Sequence[str] = (),
        leave_out: Sequence[str] = (),
        learning_curve: bool = False,
        time_split: bool = False,
        robustness: bool = True,
        budget: str = "10m",
        test_uses: int | None = None,
        tolerance: float | None = None,
    ) -> None:
        """Declare what is measured of each candidate beyond what always is.

        Args:
            groups: Columns whose values are groups of people, as in ("sex", "race"): fairness is reported by them, and
                the live version is compared in each.
            leave_out: Columns of which each value in turn is kept out of training and then measured, as in ("region",).
            learning_curve: Retrain on parts of the rows, to see whether more would help.
            time_split: Train on the past and measure on what follows, five times over; needs a time column.
            robustness: Ask with noise in the numbers, and with missing values where training had them.
            budget: How long retraining for these may take, all together, a duration.
            test_uses: How many candidates the same test rows may judge before their word counts for nothing and no
                candidate is promoted on it; default 100. Rows that new test rows share with earlier ones keep count.
            tolerance: Instead: the error of an accuracy that is accepted, as in 0.02; the number of candidates then
                follows from the number of rows (`stats.uses_left`, each right with probability 0.95).
        """
        if self._evaluate is not None:
            raise LoopError("loop.evaluate is called twice", where=place(), remedy="say it in one call")
        for option, columns in (("groups", groups), ("leave_out", leave_out)):
            if isinstance(columns, str):
                what = f"{option} cannot be {columns!r}"
                raise LoopError(what, where=place(), remedy=f"give the names of columns, as in {option}=({columns!r},)")
        if flag("time_split", time_split) and self._columns["time"] is None:
            remedy = 'name it: Loop(..., time="...")'
            raise LoopError("a split by time needs a column", where=place(), remedy=remedy)
        if test_uses is not None and tolerance is not None:
            remedy = "give test_uses, or tolerance, from which it follows"
            raise LoopError("loop.evaluate is told test_uses and tolerance", where=place(), remedy=remedy)
        self._evaluate = EvaluatePolicy(
            groups=tuple(text("groups", name) for name in groups),
            leave_out=tuple(text("leave_out", name) for name in leave_out),
            learning_curve=flag("learning_curve", learning_curve),
            time_split=time_split,
            robustness=flag("robustness", robustness),
            budget_s=seconds("budget", budget, least=1e-3),
            test_uses=None if test_uses is None else count("test_uses", test_uses),
            tolerance=None if tolerance is None else number("tolerance", tolerance, above=0, most=0.5),
        )

    def require(self, *requirements: Requirement) -> None:
        """Add requirements that every candidate must meet."""
        self._requirements += _all_of("require", requirements, Requirement)

    def rollout(self, *stages: Stage) -> None:
        """Declare the stages, in order, that lead a candidate to live; without any it goes live when approved."""
        if self._stages:
            raise LoopError("loop.rollout is called twice", where=place(), remedy="name all stages in one call")
        self._stages = _all_of("rollout", stages, Stage)

    def retrain(
        self, *triggers: Trigger, approval: Literal["automatic", "person"] = "person", cool_down: str = "30d"
    ) -> None:
        """Declare when to look whether retraining helps.

        Args:
            triggers: Reasons to look; none, `by_hand()` or `never()`: not by itself.
            approval: "automatic" lets a candidate that meets all requirements begin its rollout without a person.
            cool_down: Shortest time between two trainings that were not asked for by hand, a duration.
        """
        if self._retrain is not None:
            raise LoopError("loop.retrain is called twice", where=place(), remedy="name all triggers in one call")
        choice("approval", approval, ("automatic", "person"))
        kinds = {trigger.kind for trigger in _all_of("retrain", triggers, Trigger)}
        if "never" in kinds and len(kinds) > 1:
            raise LoopError("loop.retrain is told never, and when", where=place(), remedy="take one of them away")
        wanted = tuple(trigger for trigger in triggers if trigger.kind not in ("by_hand", "never"))
        self._retrain = RetrainPolicy(wanted, approval, seconds("cool_down", cool_down))

    def monitor(
        self,
        *,
        one_false_alarm_in: str = "30d",
        window: str = "1d",
        min_rows: int = 500,
        slices: Sequence[str] = (),
        groups: Sequence[str] | None = None,
        slow_ms: float | None = None,
        off: Sequence[str] = (),
    ) -> None:
        """Declare how the live version is watched. Everything is watched also without this, with these defaults.

        Args:
            one_false_alarm_in: While nothing changes, at most one alarm in so much time on average, over all monitors
                of the endpoint together: a duration.
            window: What is judged together: a duration, of whole days where the data have weekdays.
            min_rows: Rows in a window; a thinner one is merged with those that follow.
            slices: Columns whose values are watched one by one, as in ("region",).
            groups: Columns whose values are groups of people; those of `loop.evaluate` when left out.
            slow_ms: An answer that takes longer is a slow one, and of these there may be one in a hundred; those of
                `require.latency` when left out.
            off: What is not looked for, as in ("traffic",).
        """
        if self._monitor is not None:
            raise LoopError("loop.monitor is called twice", where=place(), remedy="say it in one call")
        for option, columns in (("slices", slices), ("groups", groups), ("off", off)):
            if isinstance(columns, str):
                what = f"{option} cannot be {columns!r}"
                raise LoopError(what, where=place(), remedy=f"give a tuple, as in {option}=({columns!r},)")
        self._monitor = MonitorPolicy(
            days=seconds("one_false_alarm_in", one_false_alarm_in, least=1.0) / 86_400.0,
            window_s=seconds("window", window, least=60.0),
            min_rows=count("min_rows", min_rows, least=100),
            slices=tuple(text("slices", name) for name in slices),
            groups=None if groups is None else tuple(text("groups", name) for name in groups),
            slow_ms=None if slow_ms is None else number("slow_ms", slow_ms, above=0),
            off=tuple(choice("off", name, MONITORS) for name in off),
        )

    def guard(self, *guards: Guard) -> None:
        """Add checks of each request and each answer, asked in the order in which `guard` lists them."""
        before = self._failsafe or FailSafePolicy()
        every = before.guards + _all_of("guard", guards, Guard)
        kinds = [found.kind for found in every]
        for once in ("unforeseen", "nan"):
            if kinds.count(once) > 1:
                raise LoopError(f"guard.{once} is declared twice", where=place(), remedy="say it in one call")
        self._failsafe = dataclasses.replace(before, guards=every)

    def fallback(self, *links: Fallback) -> None:
        """Declare who answers in place of the live version, in this order; without any, nobody does."""
        before = self._failsafe or FailSafePolicy()
        if before.fallbacks:
            raise LoopError("loop.fallback is called twice", where=place(), remedy="name the whole chain in one call")
        chain = _all_of("fallback", links, Fallback)
        last = next((at for at, link in enumerate(chain) if link.kind in ("constant", "person")), None)
        if last is not None and last + 1 < len(chain):
            what = f"fallback.{chain[last].kind} is not the last link, so what follows is never asked"
            raise LoopError(what, where=place(), remedy="put it last")
        self._failsafe = dataclasses.replace(before, fallbacks=chain)

    def interval(
        self,
        *,
        level: float = 0.9,
        adaptive: bool = True,
        step: float = 0.01,
        by: str | None = None,
        sets: Literal["lac", "aps"] = "lac",
    ) -> None:
        """Answer an interval that holds the truth with probability `level`; a set of labels for a classification.

        Conformal: calibrated on held-out rows, whatever the model. It holds over the rows, not for each of them.

        Args:
            level: Share of the intervals that hold the truth, in (0, 1).
            adaptive: Follow the labels as they come, so that the level is kept when the world drifts away.
            step: How far one label moves the level, as a share of one.
            by: Keep the level in each group alone: "class", or a column with categories.
            sets: "lac" takes the labels whose own probability is large enough (the smallest sets); "aps" takes them
                until their sum is large enough (sets that grow with doubt).
        """
        before = self._failsafe or FailSafePolicy()
        if before.interval is not None:
            raise LoopError("loop.interval is called twice", where=place(), remedy="say it in one call")
        policy = IntervalPolicy(
            level=number("level", level, above=0, most=0.9999),
            adaptive=flag("adaptive", adaptive),
            step=number("step", step, above=0, most=0.5),
            by=None if by is None else text("by", by),
            sets="aps" if choice("sets", sets, ("lac", "aps")) == "aps" else "lac",
        )
        self._failsafe = dataclasses.replace(before, interval=policy)

    def breaker(
        self,
        *,
        failures: float = 0.5,
        of: int = 20,
        slow_ms: float | None = None,
        open_s: float = 30.0,
        probes: int = 5,
    ) -> None:
        """Leave a version alone that keeps failing, and let the chain of `loop.fallback` answer meanwhile.

        Args:
            failures: Share of the last `of` answers that must fail.
            of: How many answers are looked at.
            slow_ms: An answer slower than this counts as failed, milliseconds.
            open_s: How long it is left alone, seconds.
            probes: Answers that must succeed after that before it is trusted again.
        """
        before = self._failsafe or FailSafePolicy()
        if before.breaker is not None:
            raise LoopError("loop.breaker is called twice", where=place(), remedy="say it in one call")
        policy = BreakerPolicy(
            failures=number("failures", failures, above=0, most=1),
            of=count("of", of),
            slow_ms=None if slow_ms is None else number("slow_ms", slow_ms, above=0),
            open_s=number("open_s", open_s, above=0),
            probes=count("probes", probes),
        )
        self._failsafe = dataclasses.replace(before, breaker=policy)

    def serving(self, *, deadline_s: float | None = None, queue_rows: int | None = None) -> None:
        """Declare the limits of this endpoint.

        Args:
            deadline_s: A request that is not answered within this is answered with 504, seconds.
            queue_rows: Rows that may wait for the model; a request beyond them is refused with 503 at once.
        """
        before = self._failsafe or FailSafePolicy()
        if before.serving is not None:
            raise LoopError("loop.serving is called twice", where=place(), remedy="say it in one call")
        policy = ServingPolicy(
            deadline_s=None if deadline_s is None else number("deadline_s", deadline_s, above=0),
            queue_rows=None if queue_rows is None else count("queue_rows", queue_rows),
        )
        self._failsafe = dataclasses.replace(before, serving=policy)

    def capture(self, columns: Mapping[str, str] | None = None, /, **more: str) -> None:
        """Declare what of a request is written down when it is answered; a column that is not named is kept as it came.

        `loop.capture(email="hash", note="drop")`. The model itself is always given the true value. A column that is not
        kept is left out where requests are compared with training data, and cannot be asked again later.

        Args:
            columns: Policies by column, for names that are no Python names.
            more: The others: "keep"; "hash": a text that is the same for the same value, and from which it cannot be
                found without the workspace's secret; "mask": only the kind of value and the rough length of a text;
                "drop": nothing.
        """
        if self._capture is not None:
            raise LoopError("loop.capture is called twice", where=place(), remedy="name all columns in one call")
        told = {**(columns or {}), **more}
        self._capture = {
            text("a column's name", name): choice(f"the policy of {name!r}", policy, ("keep", "hash", "mask", "drop"))
            for name, policy in sorted(told.items())
        }

    def declaration(self) -> Declaration:
        """What was declared, as data; not yet checked (see `graph.check`)."""
        steps = tuple(
            dataclasses.replace(
                spec,
                variable=_variable(self, function.__globals__),
                checks=tuple(_named(spec, check, function.__globals__) for check in self._checks.get(spec.name, ())),
            )
            for spec, function in self._steps.values()
        )
        return Declaration(
            name=self.name,
            target=self._columns["target"],
            time=self._columns["time"],
            key=self._columns["key"],
            task=self._task,
            positive=self._positive,
            label_delay_s=self._label_delay_s,
            horizon_s=self._horizon_s,
            file=relative(self._file),
            line=self._line,
            steps=steps,
            requirements=self._requirements,
            stages=self._stages,
            retrain=self._retrain or RetrainPolicy(),
            split=self._split,
            evaluate=self._evaluate,
            failsafe=self._failsafe,
            capture=self._capture,
            monitor=self._monitor,
        )

    def functions(self) -> dict[str, Callable[..., Any]]:
        """The step functions by name, innermost of any decorators."""
        return {name: function for name, (_, function) in self._steps.items()}

    def _add(self, kind: StepKind, function: F, options: Mapping[str, Any] | None = None) -> F:
        inner = inspect.unwrap(function) if callable(function) else function  # pyright: ignore[reportUnnecessaryComparison]
        if not isinstance(inner, FunctionType):
            what = f"loop.{kind} marks a function, not {function!r}"
            raise LoopError(what, where=place(), remedy="write a def under it")
        where = f"{relative(inner.__code__.co_filename)}:{inner.__code__.co_firstlineno}"
        name = inner.__name__
        if inner.__qualname__ != name or not name.isidentifier():
            raise LoopError(
                f"step {inner.__qualname__!r} is not a function at the top of its file, so it cannot be found again",
                where=where,
                remedy="write it with def at the left margin; a decorator around it should use functools.wraps",
            )
        if name in self._steps:
            earlier = self._steps[name][0].where
            what = f"two steps are named {name!r}"
            raise LoopError(what, where=where, remedy=f"rename one; the other is at {earlier}")
        if inspect.iscoroutinefunction(inner) or inspect.isgeneratorfunction(inner):
            raise LoopError(f"step {name!r} is async or a generator", where=where, remedy="write a plain function")
        inputs: list[str] = []
        params: dict[str, Any] = {}
        for parameter in inspect.signature(inner).parameters.values():
            if parameter.kind not in _SIMPLE:
                continue  # *args and **kwargs get nothing
            if parameter.default is not parameter.empty:
                params[parameter.name] = _plain_default(name, parameter, where)
            elif parameter.kind is parameter.KEYWORD_ONLY:
                raise LoopError(
                    f"parameter {parameter.name!r} of {name!r} has no default",
                    where=where,
                    remedy=f"write {parameter.name}=value in its signature; keyword arguments are parameters",
                )
            else:
                inputs.append(parameter.name)
        spec = StepSpec(
            name=name,
            kind=kind,
            inputs=tuple(inputs),
            params=params,
            **(options or {}),
            file=relative(inner.__code__.co_filename),
            line=inner.__code__.co_firstlineno,
            variable="",
        )
        self._steps[name] = (spec, inner)
        return function


def _plain_default(step: str, parameter: inspect.Parameter, where: str) -> Any:
    try:
        return json.loads(json.dumps(parameter.default, allow_nan=False))
    except (TypeError, ValueError):
        raise LoopError(
            f"parameter {parameter.name!r} of {step!r} has the default {parameter.default!r}, which JSON cannot write",
            where=where,
            remedy="use a number, text, True, False, None, or lists and dicts of them; else a module constant",
        ) from None


def _named(spec: StepSpec, check: object, namespace: dict[str, Any]) -> str:
    """What a check is called in the step's file, where it is found again."""
    found = next((name for name, value in namespace.items() if value is check and name.isidentifier()), None)
    if found is None:
        raise LoopError(
            f"a check of {spec.name!r} has no name in its file",
            where=spec.where,
            remedy="write it at the left margin, as in positive = pl.col('wage') > 0, and give checks=[positive]",
        )
    return found


def _variable(loop: Loop, namespace: dict[str, Any]) -> str:
    return next((name for name, value in namespace.items() if value is loop), "")


_Item = TypeVar("_Item", Requirement, Stage, Trigger, Guard, Fallback)


def _all_of(method: str, items: tuple[Any, ...], kind: type[_Item]) -> tuple[_Item, ...]:
    for item in items:
        if not isinstance(item, kind):
            word = getattr(item, "__name__", repr(item))
            raise LoopError(
                f"loop.{method} takes what {method}.* returns, not {word}",
                where=place(),
                remedy=f"call it: {method}.{word}(...)" if callable(item) else f"see help({method})",
            )
    return cast("tuple[_Item, ...]", items)
