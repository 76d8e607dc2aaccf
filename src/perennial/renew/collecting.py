"""Collect anew: run the collect steps, check what they returned, and give it a version."""

from __future__ import annotations

from dataclasses import dataclass

from perennial.data.collect import draft
from perennial.data.datasets import DatasetVersion
from perennial.data.frames import FrameKind, native
from perennial.data.tables import read_table, write_table
from perennial.errors import DataError, NotFound
from perennial.loop.declaration import Declaration
from perennial.loop.graph import Wiring
from perennial.pipeline.execute import Execution
from perennial.pipeline.values import Value
from perennial.renew.rooms import Rooms

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

    Raises:
        UserCodeError: A step raised.
        DataError: What it returned cannot be used, or breaks with the accepted schema; then it waits as a draft.
    """
    values: dict[str, Value] = {}
    versions: dict[str, DatasetVersion] = {}
    for name in wiring.collects:
        inputs = {key: values[key] for key in execution.declaration.step(name).inputs}
        frame = execution.collect(name, inputs)
        versions[name], kind = _version(rooms, execution.declaration, wiring, name, frame, run_id)
        table = read_table(versions[name].stored, rooms.objects)
        values[name] = execution.store(native(table, kind))
    return Collected(values=values, versions=versions)


def _version(
    rooms: Rooms, declaration: Declaration, wiring: Wiring, name: str, frame: object, run_id: str
) -> tuple[DatasetVersion, FrameKind]:
    dataset = dataset_name(declaration.name, name)
    try:
        before = rooms.datasets.get(name=dataset)
    except NotFound:
        before = None
    is_table = wiring.table == name
    try:
        made = draft(
            frame,
            name=dataset,
            target=declaration.target if is_table else None,
            required=tuple(column for column in (declaration.time, declaration.key) if column) if is_table else (),
            previous=before.schema if before is not None else None,
            previous_rows=before.rows if before is not None else None,
        )
    except DataError as error:  # the table is known there, the user's line here
        where = ", ".join(filter(None, (declaration.step(name).where, error.where)))
        raise DataError(error.what, where=where, remedy=error.remedy) from error
    manifest, logical = write_table(
        made.table,
        rooms.objects,
        order_matters=declaration.step(name).order_matters,
        previous=before.stored if before is not None else None,
    )
    version = rooms.datasets.commit(
        name=dataset,
        logical=logical,
        manifest=manifest,
        rows=made.table.num_rows,
        schema=made.schema,
        state="accepted" if made.is_acceptable else "draft",
        parent=before.version if before is not None else None,
        run_id=run_id,
        violations=made.violations,
        changes=made.changes,
    )
    if version.state == "draft":
        raise made.refusal(version.version)
    return version, made.kind
