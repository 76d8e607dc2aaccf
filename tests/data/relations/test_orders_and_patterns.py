"""Orders between columns, and the forms of texts."""

from __future__ import annotations

import re
from datetime import date, timedelta

import numpy as np
import polars as pl

from perennial.data.relations import discover
from perennial.data.scan import scan

RNG = np.random.default_rng(0)


def test_a_date_that_is_never_before_another_is_found_in_spite_of_errors() -> None:
    sent = [date(2024, 1, 1) + timedelta(days=int(day)) for day in RNG.integers(300, size=600)]
    came = [day + timedelta(days=int(later)) for day, later in zip(sent, RNG.integers(0, 30, size=600), strict=True)]
    came[5], came[99] = date(2020, 1, 1), date(2020, 1, 1)
    [order] = discover(scan(pl.DataFrame({"came": came, "sent": sent}))).orders
    assert (order.lower, order.upper) == ("sent", "came")
    assert order.holds == 1 - 2 / 600


def test_ranges_that_do_not_meet_are_no_order() -> None:
    frame = pl.DataFrame({"year": RNG.integers(1990, 2020, size=500), "month": RNG.integers(1, 13, size=500)})
    assert discover(scan(frame)).orders == []


def test_columns_without_order_have_none() -> None:
    assert discover(scan(pl.DataFrame({"a": RNG.normal(size=500), "b": RNG.normal(size=500)}))).orders == []


def test_patterns_are_those_of_nearly_all_texts_and_match_them_whole() -> None:
    codes = [f"PN-{number:03d}{letter}" for number in range(200) for letter in "ab"] + ["pn 7"]
    found = discover(scan(pl.DataFrame({"code": codes, "word": ["some words"] * 401}))).patterns
    assert list(found) == ["code"]
    [pattern] = found["code"]
    as_python = pattern.replace(r"\p{Lu}", "[A-Z]").replace(r"\p{Ll}", "[a-z]")
    assert all(re.fullmatch(as_python, code) for code in codes[:-1])
    assert pl.Series(codes).str.contains(f"^(?:{pattern})$").to_list() == [True] * 400 + [False]


def test_a_pattern_takes_punctuation_as_it_stands() -> None:
    texts = [f"(0{number}) a.b+c/{number}" for number in range(100, 200)]
    [pattern] = discover(scan(pl.DataFrame({"text": texts}))).patterns["text"]
    assert pl.Series(texts).str.contains(f"^(?:{pattern})$").all()


def test_plain_numbers_have_no_pattern_but_codes_of_digits_do() -> None:
    frame = pl.DataFrame({"price": RNG.integers(1, 5000, size=300), "zip": [f"{code:05d}" for code in range(300)]})
    assert discover(scan(frame)).patterns == {"zip": ["[0-9]{5}"]}
