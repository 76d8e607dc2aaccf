"""Collect anew: run the collect steps, check what they returned, and give it a version."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from perennial.data.collect import Terms, is_lazy, refusal
from perennial.data.collect import collect as collect_table
from perennial.data.datasets import DatasetVersion
from perennial.data.frames import kind_of, native
from perennial.data.tables import read_table
from perennial.errors import NotFound, PerennialError
from perennial.loop.declaration import StepSpec
from perennial.loop.graph import Wiring
from perennial.pipeline.execute import Execution
from perennial.pipeline.values import Value
from perennial.renew.rooms import Rooms

if TYPE_CHECKING:
    from perennial.data.schema import Schema
    from perennial.data.validation import UserCheck

__all__ = ["Collected", "collect", "dataset_name"]


@dataclass(frozen=True, kw_only=True)
class Collected:
    """The collected tables as values for the next steps, and the dataset versions that they are."""

    values: dict[str, Value]
    versions: dict[str, DatasetVersion]


def dataset_name(loop: str, step: str) -> str:
    """What the dataset of a collect step is called."""
    return f"{loop}.{step}"


def collect(rooms: Rooms, execution: Execution, wiring: Wiring, *, run_id: str) -> Collected:
    """Run every collect step; what comes out is read back from the version, so that equal data are equal input.

    A source, a plan or a scan becomes a plan over the stored files, a frame a frame of its library.

    Raises:
        UserCodeError: A step raised.
        DataError: What it returned cannot be used, or breaks with the accepted schema; then it waits as a draft.
        Refused: Bad rows stop it.
    """
    values: dict[str, Value] = {}
    versions: dict[str, DatasetVersion] = {}
    for name in wiring.collects:
        step = execution.declaration.step(name)
        what = execution.collect(name, {key: values[key] for key in step.inputs})
        version = versions[name] = _version(rooms, execution, wiring, step, what, run_id)
        if version.state == "draft":
            raise refusal(version.name, version.version, version.violations)
        if is_lazy(what):
            values[name] = execution.stored_table(version.stored, version.logical)
        else:
            values[name] = execution.store(native(read_table(version.stored, rooms.objects), kind_of(what)))
    return Collected(values=values, versions=versions)


def _version(
    rooms: Rooms, execution: Execution, wiring: Wiring, step: StepSpec, what: object, run_id: str
) -> DatasetVersion:
    declaration = execution.declaration
    is_table = wiring.table == step.name
    terms = Terms(
        target=declaration.target if is_table else None,
        required=tuple(column for column in (declaration.time, declaration.key) if column) if is_table else (),
        order_matters=step.order_matters,
        cursor=step.cursor,
        overlap=step.overlap,
        schema=_schema(step),
        checks=[*_checks(execution, step)],
        bad_rows=step.bad_rows,
    )
    name = dataset_name(declaration.name, step.name)
    try:
        # What is read piece by piece may run the user's code as it is read.
        with execution.user_code(step.name) if is_lazy(what) else nullcontext():
            return collect_table(what, name=name, rooms=rooms.data, terms=terms, run_id=run_id)
    except PerennialError as error:  # the table is known there, the user's line here
        if not error.where.startswith(step.where):
            error.where = ", ".join(filter(None, (step.where, error.where)))
        raise


def _schema(step: StepSpec) -> Schema | None:
    """The schema in the file that the step names, relative to the project."""
    if step.schema is None:
        return None
    from perennial.data.forms.toml import from_toml

    try:
        text = Path(step.schema).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise NotFound(
            f"the schema {step.schema!r} cannot be read: {error}", where=step.where, remedy="mend its path"
        ) from error
    return from_toml(text)


def _checks(execution: Execution, step: StepSpec) -> Iterator[UserCheck]:
    """The step's own checks: expressions, functions that give one, and functions of rows."""
    if not step.checks:
        return
    from perennial.data.validation import UserCheck

    for name in step.checks:
        holds = execution.named(step.name, name)
        if inspect.isfunction(holds) and not inspect.signature(holds).parameters:
            holds = holds()
        yield UserCheck(name=name, holds=holds, severity="error")
