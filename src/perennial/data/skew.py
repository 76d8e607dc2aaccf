"""Training-serving skew: is what the prediction service is asked what the model was trained on?

Two questions. Do the same things get the same values: rows of the dataset and requests that have one key are compared
value by value. And are the values distributed alike: on the bins of the dataset, with noise told apart from change.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import polars as pl
from msgspec import Struct

from perennial.data.profile.drift import ColumnDrift, drift
from perennial.data.scan import Scan, scan
from perennial.errors import DataError

if TYPE_CHECKING:
    from perennial.data.schema import Schema

__all__ = ["ColumnMatch", "Mismatch", "Skew", "requests_frame", "skew"]

EXAMPLES = 3
CLOSE = 1e-9  # relative difference of two numbers that are one, written with more or fewer digits


class Mismatch(Struct, frozen=True, kw_only=True):
    """One value that differs for the same key."""

    key: dict[str, str]
    trained: str | None
    served: str | None


class ColumnMatch(Struct, frozen=True, kw_only=True):
    """One column among the rows that are in both: in how many of `rows` the value is the same."""

    column: str
    rows: int
    equal: int
    first: list[Mismatch]


class Skew(Struct, frozen=True, kw_only=True):
    """What was found. `lost` columns are trained on and not asked with (the target, of course, is one of them)."""

    requests: int
    lost: list[str]
    unreadable: dict[str, int]
    matches: list[ColumnMatch]
    drift: list[ColumnDrift]
    over_limit: list[str]

    @property
    def is_clean(self) -> bool:
        """Whether no value differs and no column is distributed otherwise."""
        return (
            not self.over_limit
            and not self.unreadable
            and all(match.equal == match.rows for match in self.matches)
            and all(column.decision != "shifted" for column in self.drift)
        )


def skew(
    trained: Scan,
    served: pl.DataFrame,
    *,
    key: Sequence[str] = (),
    schema: Schema | None = None,
    examples: int = EXAMPLES,
) -> Skew:
    """Compare a dataset with what was asked.

    Args:
        trained: The dataset.
        served: Requests, one a row, by the names of the dataset's columns (`requests_frame`).
        key: Columns, in both, that name one thing whose other values should be the same; none: only distributions.
        schema: Of the dataset, for its `skew_limit` (L-infinity of categories, Jensen-Shannon of numbers).
        examples: How many differing values to show for each column.

    Raises:
        DataError: A key column is missing in one of them, or there is no request.
    """
    if not served.height:
        raise DataError("nothing was asked yet", remedy="compare when the service has answered some requests")
    types = trained.lazy().collect_schema()
    if missing := [name for name in key if name not in types or name not in served.columns]:
        where = "the dataset" if missing[0] not in types else "the requests"
        raise DataError(f"there is no key column {missing[0]!r} in {where}", remedy="name columns that are in both")
    shared = [name for name in types.names() if name in served.columns]
    known, unreadable = _cast(served.select(shared), types)
    found = drift(trained, scan(known))
    found = [column for column in found if column.decision not in ("gone", "new")]
    limits = {column.name: column.skew_limit for column in schema.columns} if schema else {}
    return Skew(
        requests=served.height,
        lost=[name for name in types.names() if name not in served.columns],
        unreadable=unreadable,
        matches=_matches(trained, known, list(key), examples) if key else [],
        drift=found,
        over_limit=[column.column for column in found if _over(column, types, limits.get(column.column))],
    )


def requests_frame(inputs: Sequence[Mapping[str, Any]]) -> pl.DataFrame:
    """Requests as they were sent, one mapping each, as a frame; what some leave out is missing there."""
    return pl.DataFrame(list(inputs), infer_schema_length=None, strict=False)


def _cast(served: pl.DataFrame, types: pl.Schema) -> tuple[pl.DataFrame, dict[str, int]]:
    """The requests in the dataset's types, and how many values of each column do not fit."""
    plan: dict[str, pl.Expr] = {}
    for name, kind in served.schema.items():
        column, wanted = pl.col(name), types[name]
        if kind == pl.String and wanted.base_type() in (pl.Date, pl.Datetime):
            moment = column.str.to_datetime(time_zone="UTC", strict=False)
            zone = getattr(wanted, "time_zone", None)
            plan[name] = moment.dt.convert_time_zone(zone) if zone else moment.dt.replace_time_zone(None).cast(wanted)
        else:
            plan[name] = column.cast(wanted, strict=False)
    known = served.select(**plan)
    lost = {name: known[name].null_count() - served[name].null_count() for name in known.columns}
    return known, {name: count for name, count in lost.items() if count > 0}


def _matches(trained: Scan, served: pl.DataFrame, key: list[str], examples: int) -> list[ColumnMatch]:
    others = [name for name in served.columns if name not in key]
    # Only rows that were asked for are kept, batch by batch, so the dataset may be larger than memory.
    wanted = served.select(key).unique()
    parts = [batch.join(wanted, on=key, how="semi") for batch in trained.batches(columns=[*key, *others])]
    asked = pl.concat(parts).unique(subset=key, keep="last", maintain_order=True) if parts else None
    if asked is None:
        return []
    both = served.join(asked, on=key, how="inner", suffix=_TRAINED, maintain_order="left")
    found: list[ColumnMatch] = []
    for name in others:
        same = both.select(_same(name, both.schema[name])).to_series()
        first = both.filter(~same).head(examples)
        found.append(
            ColumnMatch(
                column=name,
                rows=both.height,
                equal=int(same.sum()),
                first=[
                    Mismatch(
                        key={part: str(row[part]) for part in key},
                        trained=_text(row[name + _TRAINED]),
                        served=_text(row[name]),
                    )
                    for row in first.iter_rows(named=True)
                ],
            )
        )
    return found


def _same(name: str, kind: pl.DataType) -> pl.Expr:
    served, trained = pl.col(name), pl.col(name + _TRAINED)
    equal = served.eq_missing(trained)
    if not kind.is_float():
        return equal
    close = (served - trained).abs() <= CLOSE * pl.max_horizontal(served.abs(), trained.abs())
    return equal | close.fill_null(value=False)


def _over(column: ColumnDrift, types: pl.Schema, limit: float | None) -> bool:
    distance = column.js_distance if types[column.column].is_numeric() else column.l_infinity
    return limit is not None and distance is not None and distance > limit


def _text(value: Any) -> str | None:
    return None if value is None else str(value)


_TRAINED = "\1trained"  # no column of a user ends so
