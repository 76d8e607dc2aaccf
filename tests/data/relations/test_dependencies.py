"""Dependencies are found in data that have errors, and none where there are none."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from perennial.data.relations import Relations, discover, discovery
from perennial.data.relations.groups import Groups, told
from perennial.data.scan import scan


def found(frame: pl.DataFrame, **options: int) -> set[tuple[str, ...]]:
    relations = discover(scan(frame), **options)
    return {(*rule.determinants, rule.dependent) for rule in relations.dependencies}


def texts(codes: np.ndarray, word: str) -> pl.Series:
    return pl.Series([f"{word}{code}" for code in codes.tolist()])


@given(seed=st.integers(0, 2**32 - 1), groups=st.integers(8, 60), noise=st.floats(0, 0.1))
def test_a_planted_dependency_is_found_under_noise(seed: int, groups: int, noise: float) -> None:
    rng = np.random.default_rng(seed)
    x = rng.integers(groups, size=1500)
    y = rng.permutation(groups)[x] // 2
    wrong = rng.random(1500) < noise
    spoiled = [
        f"b{code}" + ("?!"[code % 2] * int(at % 7) if bad else "")
        for at, (code, bad) in enumerate(zip(y, wrong, strict=True))
    ]
    frame = pl.DataFrame({"a": texts(x, "a"), "b": spoiled, "c": texts(rng.integers(9, size=1500), "c")})
    assert ("a", "b") in found(frame)
    assert not any("c" in rule for rule in found(frame))


@given(seed=st.integers(0, 2**32 - 1), sizes=st.lists(st.integers(2, 700), min_size=2, max_size=5))
def test_columns_that_have_nothing_to_do_with_each_other_give_none(seed: int, sizes: list[int]) -> None:
    rng = np.random.default_rng(seed)
    columns = {f"c{at}": texts(rng.zipf(1.6, size=1000) % size, "v") for at, size in enumerate(sizes)}
    assert found(pl.DataFrame(columns)) == set()


def test_what_merely_goes_together_is_no_dependency() -> None:
    # Months and seasons: a month that lies in two seasons deviates again and again, by right.
    day = np.arange(4 * 365) % 365
    frame = pl.DataFrame({"month": texts(day // 31, "m"), "season": texts((day + 10) // 92, "s")})
    assert ("month", "season") not in found(frame)


def test_a_key_is_told_as_a_key_and_determines_nothing() -> None:
    rng = np.random.default_rng(0)
    frame = pl.DataFrame({"id": np.arange(500), "kind": rng.integers(5, size=500)})
    relations = discover(scan(frame))
    assert relations.keys == [["id"]]
    assert relations.dependencies == []


def test_a_constant_is_determined_by_nothing() -> None:
    frame = pl.DataFrame({"a": np.arange(500) % 10, "b": ["same"] * 499 + ["other"]})
    assert found(frame) == set()


def test_two_columns_together_are_found_when_neither_is_enough() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.integers(6, size=(2, 3000))
    rule = rng.permutation(36)
    frame = pl.DataFrame({"a": texts(a, "a"), "b": texts(b, "b"), "c": texts(rule[a * 6 + b], "c")})
    assert ("a", "b", "c") in found(frame)
    assert ("a", "c") not in found(frame)


def test_two_columns_are_not_told_when_one_is_enough() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.integers(6, size=(2, 3000))
    frame = pl.DataFrame({"a": texts(a, "a"), "b": texts(b, "b"), "c": texts(a // 2, "c")})
    assert found(frame) == {("a", "c")}


def test_of_a_larger_table_the_share_is_counted_in_all_rows() -> None:
    rng = np.random.default_rng(0)
    a = rng.integers(300, size=40_000)
    b = texts(a // 3, "b").to_list()
    for row in range(0, 40_000, 40):
        b[row] = f"typo{row}"
    relations = discover(scan(pl.DataFrame({"a": a, "b": b})), sample_rows=5000)
    [rule] = [rule for rule in relations.dependencies if rule.determinants == ["a"]]
    assert rule.holds == pytest.approx(1 - 1 / 40, abs=1e-9)


def test_a_dependency_of_the_sample_alone_is_not_told() -> None:
    # In the rows that are drawn `a` determines `b`; in all the others it does not.
    rows = 1 << 16
    every = np.arange(rows)
    b = np.where(every % 2 == 0, every % 50, np.random.default_rng(0).integers(50, size=rows))
    frame = pl.DataFrame({"a": texts(every % 50, "a"), "b": texts(b, "b")})
    assert ("a", "b") not in found(frame, sample_rows=5000)


@given(
    st.lists(
        st.tuples(st.integers(-1, 4), st.integers(-1, 3)),
        min_size=1,
        max_size=40,
    )
)
def test_the_others_of_a_group_are_counted_as_by_hand(pairs: list[tuple[int, int]]) -> None:
    x, y = (np.array(codes, dtype=np.int64) for codes in zip(*pairs, strict=True))
    heard = told(x, y)
    for row, (group, value) in enumerate(pairs):
        others = [b for at, (a, b) in enumerate(pairs) if at != row and a == group and group >= 0]
        present = [b for b in others if b >= 0]
        if not present and value < 0:
            continue  # nobody has anything to say about it
        assert heard.own[row] == others.count(value) if group >= 0 and present else True
        assert heard.others[row] == len(present)
        different = [b for b in present if b != value]
        best = max((different.count(b) for b in different), default=0)
        assert heard.best[row] == best
        if best:
            assert different.count(int(heard.other[row])) == best


def test_strength_is_one_for_a_rule_and_about_zero_by_chance() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.integers(300, size=(2, 5000))
    assert Groups.of(x, x // 2).strength(30) == 1.0
    assert abs(Groups.of(x, y).strength(30)) < 0.02
    assert abs(Groups.of(x, np.minimum(y, 2)).strength(30)) < 0.02


def test_an_empty_table_has_no_relations() -> None:
    assert discover(scan(pl.DataFrame({"a": [], "b": []}, schema={"a": pl.String, "b": pl.Int64}))) == Relations()


def test_groups_counted_in_parts_give_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    a = rng.integers(9000, size=40_000)
    b = a // 3
    b[::50] = -1
    frame = pl.DataFrame({"a": a, "b": b, "id": np.arange(40_000), "nearly": [0, *range(39_999)]})
    at_once = discover(scan(frame), sample_rows=10_000)
    monkeypatch.setattr(discovery, "PART_ROWS", 3000)
    assert discover(scan(frame), sample_rows=10_000) == at_once
    assert at_once.keys == [["id"]]
    assert ["a"] in [rule.determinants for rule in at_once.dependencies]


def test_a_measured_number_determines_nothing_that_it_merely_goes_with() -> None:
    # The output of a model tells what went into it, as long as few rows share it.
    rng = np.random.default_rng(0)
    kind = rng.integers(5, size=3000)
    frame = pl.DataFrame({"output": (kind + rng.integers(1, 200, size=3000) / 201), "kind": texts(kind, "k")})
    assert found(frame) == set()


def test_two_columns_of_which_one_alone_tells_nothing_are_found() -> None:
    # A deduction for singles that depends on the state: "married" alone says nothing of its amount.
    rng = np.random.default_rng(0)
    state, married = rng.integers(40, size=4000), rng.integers(2, size=4000)
    amount = np.where(married == 1, 0, 100 + state * 50)
    frame = pl.DataFrame({"state": texts(state, "s"), "married": texts(married, "m"), "amount": amount})
    assert ("state", "married", "amount") in found(frame)
