"""What a record of estimates says, and when it chooses."""

from __future__ import annotations

import msgspec
import pytest

from perennial.monitor.estimating.track_record import CONSTANT, MIN_WINDOWS, Entry, TrackRecord


def entry(number: int, method: str, off: float, *, metric: str = "accuracy", timed: bool = True) -> Entry:
    return Entry(
        rows=100,
        metric=metric,
        method=method,
        estimate=0.8 + off,
        low=0.75,
        high=0.85,
        realised=0.8,
        start=number if timed else None,
        end=number + 1 if timed else None,
    )


def record(windows: int, *, timed: bool = True) -> TrackRecord:
    """PAPE off by .01 above, CBPE by .02 on either side in turn, the constant by .1."""
    found = TrackRecord()
    for number in range(windows):
        sign = 1 if number % 2 else -1
        found = found.add(
            [
                entry(number, "cbpe", 0.02 * sign, timed=timed),
                entry(number, "pape", 0.01, timed=timed),
                entry(number, CONSTANT, 0.1, timed=timed),
            ]
        )
    return found


@pytest.mark.parametrize("timed", [True, False])
def test_the_estimator_with_the_smaller_mean_error_is_preferred(timed: bool) -> None:
    assert record(MIN_WINDOWS, timed=timed).best("accuracy", ("cbpe", "pape")) == "pape"


def test_a_few_windows_prefer_nothing() -> None:
    assert record(MIN_WINDOWS - 1).best("accuracy", ("cbpe", "pape")) is None
    assert record(20).best("f1", ("cbpe", "pape")) is None


def test_only_windows_that_all_have_estimated_count() -> None:
    """CBPE alone was asked in twenty quiet windows in which everything is easy."""
    easy = [entry(100 + number, "cbpe", 0.0) for number in range(20)]
    assert record(MIN_WINDOWS).add(easy).best("accuracy", ("cbpe", "pape")) == "pape"


def test_standings_tell_error_bias_and_coverage() -> None:
    best, second, last = record(10).standings("accuracy")
    assert (best.method, second.method, last.method) == ("pape", "cbpe", CONSTANT)
    assert (best.mae, best.bias) == pytest.approx((0.01, 0.01))
    assert (second.mae, second.bias) == pytest.approx((0.02, 0.0))
    assert (best.covered, best.windows) == (1.0, 10)


def test_labels_that_came_late_replace_an_entry() -> None:
    revised = record(10).add([entry(3, "pape", 0.5)])
    assert len(revised.entries) == 30
    assert revised.standings("accuracy")[-1].mae == pytest.approx(0.1)


def test_a_record_is_stored_as_json() -> None:
    found = record(6)
    assert msgspec.json.decode(msgspec.json.encode(found), type=TrackRecord) == found


def test_words_name_the_error_and_that_of_saying_nothing_changed() -> None:
    said = record(6).words("accuracy", "pape")
    assert (
        said
        == "off by 0.0100 on average over 6 labelled windows, 100% within the band (the reference value: off by 0.1000)"
    )
    assert "no labelled window yet" in record(6).words("accuracy", "dle")
