"""How far two versions of a table are apart, column by column, on bins that the reference fixes.

Each distance comes with its noise floor, and a column has shifted only when its PSI is above the tolerance by more
than noise explains, over all columns together (`perennial.stats.tolerance`; Benjamini-Hochberg). Rows that depend on
each other, such as days of one season, are more alike than the test knows: compare like with like.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Literal, cast

import msgspec
import numpy as np
import polars as pl
from msgspec import Struct

from perennial.data.profile.arrays import Floats, Ints
from perennial.data.profile.columns import ColumnProfile, Kind, kind_of, plain
from perennial.data.profile.profiles import THREADS, Profile, bounded_batches
from perennial.data.profile.rows import LETTERS, Sampler
from perennial.data.scan import BATCH_ROWS, Scan
from perennial.stats import (
    Bins,
    CategoryBins,
    NumericBins,
    benjamini_hochberg,
    js_distance,
    l_infinity,
    tolerance_test,
)
from perennial.stats.tolerance import ALPHA, TOLERANCE_PSI

__all__ = ["ColumnDrift", "Decision", "drift"]

Decision = Literal["shifted", "within tolerance", "undecided", "new", "gone", "type"]
SAMPLE = 20_000  # rows of the reference that place its bins; all rows are counted in them


class ColumnDrift(Struct, kw_only=True, frozen=True):
    """One column of two versions.

    Attributes:
        column: Its name.
        decision: "new", "gone" and "type" (another kind of values) when there is nothing to compare.
        says: Why, as a sentence.
        psi: Population stability index over the bins, in nats.
        noise_floor: What the PSI would be, on average, without any shift.
        js_distance: Jensen-Shannon distance of the present values, in [0, 1].
        l_infinity: Largest change of a bin's share of the present values.
        p_value: That the true PSI is within the tolerance, as far as the rows tell.
        reference_missing: Share of rows without a value.
        current_missing: The same now.
        labels: Of the bins, in order; the last is of missing values.
        reference: Rows of each bin.
        current: The same now.
    """

    column: str
    decision: Decision
    says: str
    psi: float | None = None
    noise_floor: float | None = None
    js_distance: float | None = None
    l_infinity: float | None = None
    p_value: float | None = None
    reference_missing: float = 0.0
    current_missing: float = 0.0
    labels: list[str] = []
    reference: list[int] = []
    current: list[int] = []


def drift(
    reference: Profile | Scan,
    current: Scan,
    *,
    tolerance: float = TOLERANCE_PSI,
    tell: Callable[[str], None] | None = None,
) -> list[ColumnDrift]:
    """Compare every column; the clearest shifts come first.

    Args:
        reference: What the current rows are compared with. A `Scan` is read twice, for bins and for counts; of a
            `Profile`, columns with up to 1,000 different values are counted whole, others by its sample of rows.
        current: Read once.
        tolerance: Largest true PSI that is no shift, in nats.
        tell: Is told what is being read.
    """
    with ThreadPoolExecutor(THREADS) as threads:
        before = reference if isinstance(reference, Profile) else _Table(reference)
        after = _Table(current)
        mine, theirs = before.kinds(), after.kinds()
        same = [name for name, (_, kind) in mine.items() if kind != "other" and theirs.get(name, ("", ""))[1] == kind]
        tell = tell or (lambda _: None)
        tell(f"reading {before.says}")
        sample = before.sample.frame() if isinstance(before, Profile) else before.sampled(same)
        bins = {name: _bins(sample, name, mine[name][1]) for name in same}
        if isinstance(before, Profile):
            old = {name: _counted(before[name], bins[name], sample) for name in same}
        else:
            old = before.count(bins, threads)
        tell(f"reading {after.says}")
        new = after.count(bins, threads)
    told = [_compared(name, bins[name], old[name], new[name], tolerance) for name in same]
    found = _selected(told)
    for name, (kind, how) in mine.items():
        if name not in theirs:
            found.append(ColumnDrift(column=name, decision="gone", says="the column is gone"))
        elif theirs[name][1] != how:
            found.append(ColumnDrift(column=name, decision="type", says=f"was {kind}, is {theirs[name][0]}"))
    added = (name for name in theirs if name not in mine)
    found += [ColumnDrift(column=name, decision="new", says="the column is new") for name in added]
    order: list[Decision] = ["type", "gone", "new", "shifted", "within tolerance", "undecided"]
    return sorted(found, key=lambda one: (order.index(one.decision), -(one.psi or 0.0)))


class _Table:
    """A scan that is read more than once: what is in memory already is made a frame of polars only once."""

    def __init__(self, source: Scan) -> None:
        self.says = source.says
        self._source = source
        self._frame = source.lazy().collect() if source.format == "frame" else None

    def kinds(self) -> dict[str, tuple[str, Kind]]:
        schema = cast(pl.DataFrame, pl.from_arrow(self._source.schema.empty_table())).schema
        types = self._source.types()
        return {name: (types[name], kind_of(dtype)) for name, dtype in schema.items()}

    def batches(self, columns: Sequence[str]) -> Iterator[pl.DataFrame]:
        if not columns:
            return
        whole = bounded_batches(self._source, columns) if self._frame is None else self._frame.iter_slices(BATCH_ROWS)
        for batch in whole:
            schema = batch.schema  # made anew each time it is asked for
            yield batch.select([plain(name, schema[name]) for name in columns])

    def sampled(self, columns: Sequence[str]) -> pl.DataFrame:
        sampler = Sampler(SAMPLE, [0])
        for batch in self.batches(columns):
            sampler.add(batch)
        return sampler.frame()

    def count(self, bins: Mapping[str, Bins], threads: ThreadPoolExecutor) -> dict[str, Ints]:
        counts = {name: np.zeros(its.n_bins, np.int64) for name, its in bins.items()}
        for batch in self.batches(list(bins)):
            found = threads.map(_of_batch, bins.values(), (batch[name] for name in bins))
            for name, its in zip(bins, found, strict=True):
                counts[name] += its
        return counts


def _bins(sample: pl.DataFrame, name: str, kind: Kind) -> Bins:
    if kind in ("number", "time"):
        return NumericBins.from_reference(_numbers(sample[name]) if sample.width else np.zeros(0))
    return CategoryBins.from_reference(_texts(sample[name]).to_list() if sample.width else [])


def _of_batch(bins: Bins, values: pl.Series) -> Ints:
    if isinstance(bins, NumericBins):
        return bins.count(_numbers(values))
    present = _texts(values.drop_nulls())
    hashes = np.sort(present.hash().to_numpy())
    named = pl.Series(bins.categories, dtype=pl.String).hash().to_numpy()
    counts = np.searchsorted(hashes, named, "right") - np.searchsorted(hashes, named, "left")
    return np.array([*counts, len(present) - counts.sum(), len(values) - len(present)], dtype=np.int64)


def _counted(column: ColumnProfile, bins: Bins, sample: pl.DataFrame) -> Ints:
    """Rows of a profiled column in each bin: of all rows where the profile has them all, else of its sample."""
    frequent = column.frequent
    if column.infinite or not frequent.is_complete:
        return _of_batch(bins, sample[column.name])
    if isinstance(bins, CategoryBins):
        named: dict[str, int] = {}
        for value, count in zip(frequent.values, frequent.counts, strict=True):
            text = str(value).lower() if column.kind == "flag" else str(value)[:LETTERS]
            named[text] = named.get(text, 0) + count
        known = [named.get(name, 0) for name in bins.categories]
        return np.array([*known, column.present - sum(known), column.missing], dtype=np.int64)
    counts = np.zeros(bins.n_bins, np.int64)
    edges = () if bins.low is None else (math.nextafter(bins.low, -math.inf), *bins.uppers)
    places = np.searchsorted(np.asarray(edges), np.asarray(frequent.values, dtype=np.float64), side="left")
    np.add.at(counts, places, np.asarray(frequent.counts, dtype=np.int64))
    counts[-1] = column.missing
    return counts


def _numbers(values: pl.Series) -> Floats:
    return values.cast(pl.Float64).to_numpy()


def _texts(values: pl.Series) -> pl.Series:
    """As much of a text as a sample keeps."""
    texts = values.cast(pl.String)
    longest = cast(int | None, texts.str.len_bytes().max())
    return texts if (longest or 0) <= LETTERS else texts.str.slice(0, LETTERS)


def _compared(name: str, bins: Bins, before: Ints, after: Ints, tolerance: float) -> ColumnDrift:
    test = tolerance_test(before, after, tolerance)
    p, q = before[:-1], after[:-1]
    present = bool(p.sum() and q.sum())
    floor = test.details.get("noise_floor")
    return ColumnDrift(
        column=name,
        decision=cast(Decision, test.decision),
        says=test.reasons[0],
        psi=test.statistic,
        noise_floor=float(cast(float, floor)) if floor is not None else None,
        js_distance=js_distance(p / p.sum(), q / q.sum()) if present else None,
        l_infinity=l_infinity(p / p.sum(), q / q.sum()) if present else None,
        p_value=test.p_value,
        reference_missing=float(before[-1] / max(before.sum(), 1)),
        current_missing=float(after[-1] / max(after.sum(), 1)),
        labels=list(bins.labels),
        reference=cast(list[int], before.tolist()),
        current=cast(list[int], after.tolist()),
    )


def _selected(told: list[ColumnDrift]) -> list[ColumnDrift]:
    """Of the columns that seem to have shifted, those that all tests together bear out."""
    if not told:
        return []
    tested = np.array([math.nan if one.p_value is None else one.p_value for one in told])
    believed = benjamini_hochberg(tested, ALPHA).selected
    found: list[ColumnDrift] = []
    for one, is_shifted in zip(told, believed, strict=True):
        decision: Decision = "shifted" if is_shifted else one.decision
        if decision == "shifted" and not is_shifted:
            decision = "within tolerance"
        found.append(msgspec.structs.replace(one, decision=decision))
    return found
