"""Samples of distinct values: the same for every order and cut, and close to the truth."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from perennial.monitor.profiling.hashes import MISSING, HashCounter, KeptHashes, number_hashes, text_hashes


def kept(hashes: np.ndarray, capacity: int = 8, cuts: list[int] | None = None) -> KeptHashes:
    counter = HashCounter(capacity)
    for part in np.split(hashes, sorted(cuts or [])):
        counter.add(part)
    return counter.kept()


def test_hashes_are_those_of_every_version() -> None:
    """Stored profiles hold them: a change of these numbers makes stored windows incomparable."""
    assert number_hashes(np.array([0.0, 1.0, -2.5, 1e300])).tolist() == NUMBERS
    assert text_hashes(pl.Series(["", "a", "Straße", "x" * 1000])).tolist() == TEXTS


def test_a_text_has_one_hash_wherever_it_stands() -> None:
    texts = ["b", "", "abc", "a", "bc", "ab", "c", "ä" * 300, "abc"]
    alone = [int(text_hashes(pl.Series([text]))[0]) for text in texts]
    assert text_hashes(pl.Series(texts)).tolist() == alone
    assert text_hashes(pl.Series(["zz", *texts])[1:]).tolist() == alone
    assert len(set(alone)) == len(set(texts))


@given(
    values=st.lists(st.integers(0, 60), max_size=300),
    cuts=st.lists(st.integers(0, 300), max_size=4),
    order=st.randoms(use_true_random=False),
)
def test_any_order_and_cut_gives_the_same_sample_with_exact_counts(values: list[int], cuts: list[int], order) -> None:
    hashes = number_hashes(np.array(values, dtype=np.float64))
    once = kept(hashes)
    shuffled = values.copy()
    order.shuffle(shuffled)
    again = kept(number_hashes(np.array(shuffled, dtype=np.float64)), cuts=cuts)
    assert again.as_dict() == once.as_dict()
    parts = [kept(part) for part in np.split(hashes, sorted(cuts))]
    added = parts[0]
    for part in parts[1:]:
        added += part
    assert added.as_dict() == once.as_dict()
    assert KeptHashes.from_dict(once.as_dict()).as_dict() == once.as_dict()
    occurring = dict(zip(*np.unique(hashes, return_counts=True), strict=True))
    assert all(occurring[value] == count for value, count in zip(once.hashes, once.counts, strict=True))
    if once.is_complete:
        assert once.distinct == len(occurring)


@pytest.mark.parametrize("distinct", [1, 7, 8, 9, 100, 4_095, 70_000])
def test_a_large_first_batch_keeps_what_single_rows_would(distinct: int) -> None:
    """With its limit set at once, or where few values are distinct, by looking at more and more of it."""
    values = np.random.default_rng(distinct).integers(0, distinct, 70_000) if distinct < 70_000 else np.arange(70_000)
    hashes = number_hashes(values.astype(np.float64))
    unique, counts = np.unique(hashes, return_counts=True)
    halvings = next(h for h in range(64) if (unique < 2 ** (64 - h) - 1).sum() <= 8 or (h == 0 and len(unique) <= 8))
    stay = unique < 2 ** (64 - halvings) - 1 if halvings else np.ones(len(unique), np.bool_)
    once = kept(hashes)
    assert (once.halvings, once.hashes.tolist(), once.counts.tolist()) == (
        halvings,
        unique[stay].tolist(),
        counts[stay].tolist(),
    )
    assert kept(hashes, cuts=[3, 600, 601, 50_000]).as_dict() == once.as_dict()


@given(st.lists(st.floats(allow_nan=False), min_size=1).map(np.array))
def test_hashes_are_the_same_in_arrays_that_were_used_before(values: np.ndarray) -> None:
    room = (np.full(len(values), 3, np.uint64), np.full(len(values), 5, np.uint64))
    has_negative_zero = bool(((values == 0.0) & np.signbit(values)).any())
    found = number_hashes(values, room=room, has_negative_zero=has_negative_zero)
    assert found is room[0]
    assert found.tolist() == number_hashes(values + 0.0).tolist()


@given(st.lists(st.one_of(st.none(), st.text(max_size=4), st.just("ü" * 200)), min_size=1), st.integers(0, 3))
def test_texts_that_are_missing_change_no_other_hash(texts: list[str | None], start: int) -> None:
    found = text_hashes(pl.Series([*texts[:1] * start, *texts], dtype=pl.String)[start:])
    for text, value in zip(texts, found.tolist(), strict=True):
        assert value == (int(MISSING) if text is None else int(text_hashes(pl.Series([text]))[0]))


def test_the_caller_may_go_on_with_its_array() -> None:
    hashes = number_hashes(np.arange(100.0))
    once, counter = kept(hashes), HashCounter(8)
    counter.add(hashes)
    hashes[:] = 7
    assert counter.kept().as_dict() == once.as_dict()


@pytest.mark.parametrize("distinct", [3, 500, 5_000, 200_000])
@pytest.mark.parametrize("step", [1.0, 0.1, 7e9])
def test_the_number_of_distinct_values_is_right_to_five_standard_errors(distinct: int, step: float) -> None:
    draw = np.random.default_rng(distinct)
    values = draw.permutation(np.concatenate([np.arange(distinct), draw.integers(0, distinct, 100_000)])) * step
    found = kept(number_hashes(values), capacity=1024)
    error = 0.0 if distinct <= 1024 else 5 / np.sqrt(512)
    assert found.distinct == pytest.approx(distinct, rel=error)
    assert len(found.hashes) <= 1024


def test_what_two_samples_share_is_counted_on_common_ground() -> None:
    old = kept(number_hashes(np.arange(10_000.0)), 256)
    half = kept(number_hashes(np.arange(5_000.0, 7_000.0)), 256)
    other = kept(number_hashes(np.arange(20_000.0, 22_000.0)), 256)
    assert half.shared(old)[0] == half.shared(old)[1] > 20
    assert other.shared(old)[0] == 0
    assert 0.1 < old.shared(half)[0] / old.shared(half)[1] < 0.3


NUMBERS: list[int] = [0, 7642595774200373033, 18007202853764700821, 2736192891318349581]
TEXTS: list[int] = [0, 4384249153320014562, 7783124071641509827, 2034189537540560111]
