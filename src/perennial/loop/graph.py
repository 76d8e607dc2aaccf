"""How the steps of a loop fit together, checked before anything runs.

Steps are wired by parameter name, as pytest wires fixtures. `train` is the exception: its `X` and `y` are made of the
table that the features are computed from.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter

from perennial.errors import Invalid, LoopError
from perennial.loop.declaration import Declaration, StepKind, StepSpec
from perennial.loop.options import did_you_mean
from perennial.loop.require import METRICS
from perennial.types import JSON

__all__ = ["Wiring", "bind_params", "check"]

TRAIN_INPUTS = ("X", "y")


@dataclass(frozen=True)
class Wiring:
    """A loop whose steps fit.

    Attributes:
        order: Every step, each after those it needs.
        collects: The steps that fetch data, in that order.
        table: The step whose result is one row for each example, with the target: what is versioned, split and served.
        features: The features step, if there is one.
        train: The training step.
    """

    order: tuple[str, ...]
    collects: tuple[str, ...]
    table: str
    features: str | None
    train: str


def check(declaration: Declaration) -> Wiring:
    """Check that the steps fit together and tell in which order they run.

    Raises:
        LoopError: An unknown input, a cycle, a step too many or missing; names the line and the remedy.
    """
    steps = {step.name: step for step in declaration.steps}
    _one_each(declaration)
    for step in declaration.steps:
        _check_inputs(declaration, step, steps)
    order = _order(steps)
    named: dict[StepKind, list[str]] = {"collect": [], "step": [], "features": [], "train": []}
    for name in order:
        named[steps[name].kind].append(name)
    features = named["features"][0] if named["features"] else None
    _check_metrics(declaration)
    _check_guards(declaration)
    return Wiring(
        order=order,
        collects=tuple(named["collect"]),
        table=steps[features].inputs[0] if features else _last_table(declaration, named),
        features=features,
        train=named["train"][0],
    )


def bind_params(declaration: Declaration, given: Mapping[str, JSON]) -> dict[str, dict[str, JSON]]:
    """Every step's parameters: the defaults, with those given by `name` or `step.name` in their place.

    Raises:
        Invalid: No step has such a parameter, several have it, or the value is of another type than the default.
    """
    params = {step.name: dict(step.params) for step in declaration.steps}
    for name, value in given.items():
        step, dot, short = name.rpartition(".")
        owners = [owner for owner, known in params.items() if short in known and (not dot or owner == step)]
        if len(owners) != 1:
            known = [f"{owner}.{param}" if dot or owners else param for owner in params for param in params[owner]]
            raise Invalid(
                f"{'several steps have' if owners else 'no step has'} a parameter {name!r}",
                remedy=did_you_mean(name, known) or "no step of this loop has parameters",
            )
        default = params[owners[0]][short]
        if not _alike(value, default):
            raise Invalid(
                f"{name} cannot be {json.dumps(value)}", remedy=f"give a value like its default, {json.dumps(default)}"
            )
        params[owners[0]][short] = value
    return params


def _alike(value: JSON, default: JSON) -> bool:
    if default is None or value is None:
        return True
    if isinstance(default, float):
        return isinstance(value, int | float) and not isinstance(value, bool)
    return isinstance(value, type(default)) and isinstance(value, bool) == isinstance(default, bool)


def _one_each(declaration: Declaration) -> None:
    kinds: dict[str, list[StepSpec]] = {}
    for step in declaration.steps:
        kinds.setdefault(step.kind, []).append(step)
    for kind, says in (("collect", "fetches its data"), ("train", "fits its model")):
        if kind not in kinds:
            raise LoopError(
                f"loop {declaration.name!r} has no step that {says}",
                where=declaration.where,
                remedy=f"mark one function with @loop.{kind}",
            )
    for kind in ("features", "train"):
        if len(kinds.get(kind, [])) > 1:
            first, second = kinds[kind][:2]
            raise LoopError(
                f"loop {declaration.name!r} has two {kind} steps, {first.name!r} and {second.name!r}",
                where=second.where,
                remedy=f"keep one; the other is at {first.where}"
                + ("; use @loop.step for what comes before it" if kind == "features" else ""),
            )


def _check_inputs(declaration: Declaration, step: StepSpec, steps: Mapping[str, StepSpec]) -> None:
    if step.name in TRAIN_INPUTS:
        remedy = "rename it; X and y are what train takes"
        raise LoopError(f"a step cannot be named {step.name!r}", where=step.where, remedy=remedy)
    for name in step.inputs:
        if step.kind == "train" and name in TRAIN_INPUTS:
            continue
        if name in TRAIN_INPUTS:
            remedy = "X and y exist for train only; take the name of the step that makes the table"
        elif name not in steps:
            fitting = [other for other in steps if other != step.name] + list(
                TRAIN_INPUTS if step.kind == "train" else ()
            )
            remedy = did_you_mean(name, fitting) + ("; a parameter needs a default" if step.kind == "train" else "")
        elif steps[name].kind == "train" or (steps[name].kind == "features" and step.kind != "train"):
            remedy = "a step takes what was collected or made by another @loop.step"
            raise LoopError(f"{step.name!r} takes {name!r}, which comes later", where=step.where, remedy=remedy)
        else:
            continue
        raise LoopError(f"{step.name!r} takes {name!r}, and no step has that name", where=step.where, remedy=remedy)
    if step.kind == "features" and len(step.inputs) != 1:
        raise LoopError(
            f"features step {step.name!r} takes {len(step.inputs)} tables",
            where=step.where,
            remedy="let it take one, whose rows are those of a request; join others before it in a @loop.step",
        )
    if step.kind == "train" and "X" not in step.inputs:
        raise LoopError(f"train step {step.name!r} takes no X", where=step.where, remedy=f"write def {step.name}(X, y)")
    if step.kind == "train" and "y" in step.inputs and declaration.target is None:
        raise LoopError(
            f"train step {step.name!r} takes y, but the loop names no target",
            where=declaration.where,
            remedy=f'write Loop({declaration.name!r}, target="the column to predict")',
        )


def _order(steps: Mapping[str, StepSpec]) -> tuple[str, ...]:
    # In the order of the file where there is a choice, so that two runs log alike.
    sorter: TopologicalSorter[str] = TopologicalSorter()
    for step in steps.values():
        needs = [name for name in step.inputs if name in steps]
        if step.kind == "train":
            needs += [name for name, other in steps.items() if other.kind == "features"]
        sorter.add(step.name, *needs)
    try:
        sorter.prepare()
    except CycleError as error:
        names: list[str] = error.args[1]
        first = steps[names[0]]
        raise LoopError(
            f"steps need each other in a circle: {' -> '.join(reversed(names))}",
            where=first.where,
            remedy="take one of these arguments away",
        ) from None
    order: list[str] = []
    ready: set[str] = set()
    while sorter.is_active():
        ready |= set(sorter.get_ready())
        name = next(name for name in steps if name in ready)
        ready.remove(name)
        order.append(name)
        sorter.done(name)
    # What trains comes last: a step that nothing needs is still prepared before it.
    return tuple(sorted(order, key=lambda name: steps[name].kind == "train"))


def _last_table(declaration: Declaration, named: Mapping[StepKind, list[str]]) -> str:
    tables = [*named["collect"], *named["step"]]
    taken = {name for step in declaration.steps if step.kind != "train" for name in step.inputs}
    ends = [name for name in tables if name not in taken]
    if len(ends) == 1:
        return ends[0]
    raise LoopError(
        f"it is not clear which table the model learns from: {' or '.join(map(repr, ends))}",
        where=declaration.step(named["train"][0]).where,
        remedy="join them in a @loop.step, or take the right one in a @loop.features step",
    )


def _check_guards(declaration: Declaration) -> None:
    """A guard by the width of an interval needs the interval; falling back needs something to fall back on."""
    policy = declaration.failsafe
    if policy is None:
        return
    if policy.interval is None and any("wider_than" in guard.options for guard in policy.guards):
        raise LoopError(
            "guard.uncertain(wider_than=...) looks at the interval of an answer, and none is declared",
            where=declaration.where,
            remedy="add loop.interval()",
        )
    falls = any("fall_back" in (guard.options.get("action"), guard.options.get("answer")) for guard in policy.guards)
    if falls and not policy.fallbacks:
        raise LoopError(
            "a guard falls back, and there is nothing to fall back on",
            where=declaration.where,
            remedy="add loop.fallback(fallback.previous(), fallback.constant())",
        )


def _check_metrics(declaration: Declaration) -> None:
    for requirement in declaration.requirements:
        name = requirement.options.get("metric")
        if declaration.task and isinstance(name, str) and METRICS[name] != declaration.task:
            fitting = ", ".join(metric for metric, task in METRICS.items() if task == declaration.task)
            raise LoopError(
                f"{name} is not a metric of {declaration.task}", where=declaration.where, remedy=f"use one of {fitting}"
            )
