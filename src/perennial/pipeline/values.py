"""Results of steps as objects in the store: frames as Parquet, everything else pickled.

A frame comes back as a frame of the same library with the same types (Enum, Categorical, a pandas index). Pickles are
read only from the store, where this workspace's own executor put them.
"""

from __future__ import annotations

import io
import pickle
from collections.abc import Callable, Iterable
from types import FunctionType
from typing import TYPE_CHECKING, Any, Literal

import msgspec
from blake3 import blake3

from perennial.errors import DataError
from perennial.types import Digest

if TYPE_CHECKING:
    from perennial.store.objects import ObjectStore

__all__ = ["Value", "load_value", "referenced", "store_value", "table_value"]

Kind = Literal["polars", "polars-lazy", "pandas", "pyarrow", "pickle", "table"]
Names = dict[str, set[str]]


class Value(msgspec.Struct, frozen=True, kw_only=True):
    """A stored result. `digest` names its bytes; `logical_digest` is its identity, which fingerprints use.

    A "table" is a dataset version: `digest` names its manifest, and steps get a plan over its files.
    """

    kind: Kind
    digest: Digest
    logical_digest: Digest


def store_value(
    value: object, objects: ObjectStore, *, projects: Iterable[str], code_of: Callable[[Names], str]
) -> Value:
    """Store a result.

    Args:
        value: The result.
        objects: Where to.
        projects: Modules of the project.
        code_of: Gives the source of project names. A pickle refers to its classes by name only, so that their code is
            part of its identity.

    Raises:
        DataError: It can neither be written as Parquet nor pickled.
    """
    framed = _framed(value)
    if framed is not None:
        kind, data, identity = framed
        return Value(kind=kind, digest=objects.put(data), logical_digest=_identity(kind, identity))
    try:
        data, names = _pickled(value, frozenset(projects))
    except Exception as error:  # an object of the user's or a library's may raise anything when it is pickled
        raise DataError(
            f"a result of type {type(value).__name__} cannot be stored: {error}",
            remedy="return a data frame, an array, or an object that pickle can write",
        ) from error
    digest = objects.put(data)
    code = code_of(names) if names else ""
    return Value(kind="pickle", digest=digest, logical_digest=_identity("pickle", digest, code))


def table_value(manifest: Digest, logical: str) -> Value:
    """The value that stands for a stored table."""
    return Value(kind="table", digest=manifest, logical_digest=_identity("table", logical))


def load_value(value: Value, objects: ObjectStore) -> Any:
    """The result, as what it was; a new object at each call."""
    if value.kind == "table":
        from perennial.data.scan import plan_of

        return plan_of(value.digest, objects)
    data = objects.get(value.digest)
    if value.kind == "pickle":
        return pickle.loads(data)  # noqa: S301  written by this workspace's own executor; the digest was checked
    if value.kind == "pyarrow":
        import pyarrow.parquet as pq

        return pq.read_table(io.BytesIO(data))
    if value.kind == "pandas":
        import pyarrow.parquet as pq

        return pq.read_table(io.BytesIO(data)).to_pandas()
    import polars as pl

    frame = pl.read_parquet(io.BytesIO(data))
    return frame.lazy() if value.kind == "polars-lazy" else frame


def referenced(value: object, projects: Iterable[str]) -> Names:
    """Names of project modules, by module, that the pickle of this object refers to."""
    return _pickled(value, frozenset(projects))[1]


def _identity(*parts: str) -> Digest:
    return Digest(blake3("\0".join(parts).encode()).hexdigest())


def _framed(value: Any) -> tuple[Kind, bytes, str] | None:
    """A frame's kind, bytes and identity; None for what is no frame, and for columns that only pickle can write."""
    library, name = type(value).__module__.partition(".")[0], type(value).__name__
    if library == "polars" and name in ("DataFrame", "LazyFrame"):
        frame = value.collect() if name == "LazyFrame" else value
        return _polars("polars" if frame is value else "polars-lazy", frame)
    if library == "pandas" and name == "DataFrame":
        return _pandas(value)
    if library == "pyarrow" and name == "Table":
        return "pyarrow", _parquet(value), _table_identity(value, str(value.schema.remove_metadata()))
    return None


def _polars(kind: Kind, frame: Any) -> tuple[Kind, bytes, str] | None:
    import polars as pl

    if pl.Object in frame.dtypes:
        return None
    buffer = io.BytesIO()
    frame.write_parquet(buffer)
    return kind, buffer.getvalue(), _table_identity(frame.to_arrow(), repr(list(frame.schema.items())))


def _pandas(frame: Any) -> tuple[Kind, bytes, str] | None:
    import pyarrow as pa

    try:
        table = pa.Table.from_pandas(frame)
    except (pa.ArrowException, ValueError, TypeError):
        return None  # mixed objects, or two columns of one name
    columns = [(column, str(frame[column].dtype), _categories(frame[column].dtype)) for column in frame]
    types = f"{table.schema.remove_metadata()} {columns} {frame.index.names}"
    return "pandas", _parquet(table), _table_identity(table, types)


def _parquet(table: Any) -> bytes:
    import pyarrow.parquet as pq

    buffer = io.BytesIO()
    pq.write_table(table, buffer)
    return buffer.getvalue()


def _table_identity(table: Any, types: str) -> str:
    """Content in its order, and the types that the library sees: a text that became a category is another input."""
    from perennial.data.digest import logical_digest

    return f"{logical_digest(table, order_matters=True)} {types}"


def _categories(kind: Any) -> list[Any]:
    return [*kind.categories.tolist(), kind.ordered] if hasattr(kind, "categories") else []


class _Pickler(pickle.Pickler):
    """Notes which names of the project a pickle refers to."""

    def __init__(self, file: io.BytesIO, projects: frozenset[str]) -> None:
        super().__init__(file, protocol=5)
        self.names: Names = {}
        self._projects = projects

    def reducer_override(self, obj: Any) -> Any:  # asked for everything but plain values and containers
        named: Any = obj if isinstance(obj, type | FunctionType) else type(obj)
        if named.__module__ in self._projects:
            self.names.setdefault(named.__module__, set()).add(named.__qualname__.partition(".")[0])
        return NotImplemented


def _pickled(value: object, projects: frozenset[str]) -> tuple[bytes, Names]:
    buffer = io.BytesIO()
    pickler = _Pickler(buffer, projects)
    pickler.dump(value)
    return buffer.getvalue(), pickler.names
