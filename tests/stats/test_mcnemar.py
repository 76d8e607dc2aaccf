"""The exact McNemar test against its check value and scipy's binomial test."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from perennial.stats import OutOfRange, mcnemar


def test_published_value() -> None:
    found = mcnemar(10, 25)
    assert found.p_value is not None
    assert round(found.p_value, 6) == 0.016674
    assert found.decision == "better"
    assert mcnemar(25, 10).decision == "worse"


@given(st.integers(0, 60), st.integers(0, 60))
def test_p_value_is_that_of_the_binomial_test(b: int, c: int) -> None:
    expected = binomtest(c, b + c, 0.5).pvalue if b + c else 1.0
    found = mcnemar(b, c)
    assert found.p_value == pytest.approx(expected)
    assert (found.decision == "no difference shown") == (expected > 0.05)


def test_wrong_input_is_refused() -> None:
    with pytest.raises(OutOfRange):
        mcnemar(-1, 3)
    with pytest.raises(OutOfRange):
        mcnemar(1, 3, alpha=0.0)
