"""Which cells look wrong, kind by kind of error."""

from __future__ import annotations

import numpy as np
import polars as pl
import pyarrow as pa
import pytest

from perennial.data.relations import Relations
from perennial.data.scan import scan
from perennial.data.suspects import Suspect, measure, search, suspects
from perennial.errors import DataError

CITIES = {"Bend": "OR", "Gary": "IN", "Reno": "NV", "Portland": "ME", "Meadville": "PA", "Springfield": "IL"}


def places(rows: int = 240) -> pl.DataFrame:
    """Cities with their state and a code that tells them apart."""
    names = [list(CITIES)[at % len(CITIES)] for at in range(rows)]
    return pl.DataFrame(
        {
            "code": [f"C-{list(CITIES).index(name)}" for name in names],
            "city": names,
            "state": [CITIES[name] for name in names],
            "number": [str(at * 37 % 101) for at in range(rows)],
        }
    )


def cells(frame: pl.DataFrame) -> list[Suspect]:
    return suspects(scan(frame)).cells


def where(frame: pl.DataFrame) -> set[tuple[int, str]]:
    return {(cell.row, cell.column) for cell in cells(frame)}


def put(frame: pl.DataFrame, column: str, **values: str) -> pl.DataFrame:
    """The frame with other values in some rows, given as r3="x"."""
    texts = frame[column].to_list()
    for row, value in values.items():
        texts[int(row[1:])] = value
    return frame.with_columns(pl.Series(column, texts, dtype=pl.String))


def test_a_table_without_errors_has_no_suspects() -> None:
    assert cells(places()) == []


def test_a_value_that_breaks_a_dependency_is_found_with_its_repair() -> None:
    [cell] = cells(put(places(), "state", r4="OR"))
    assert (cell.row, cell.column, cell.value, cell.repair) == (4, "state", "OR", "PA")
    assert "C-4" in cell.reasons[0] or "Meadville" in cell.reasons[0]


def test_wrong_determinants_are_blamed_and_not_what_they_determine() -> None:
    [cell] = cells(put(places(), "code", r4="C-1"))
    assert (cell.row, cell.column, cell.repair) == (4, "code", "C-4")


def test_a_missing_value_that_others_know_is_found() -> None:
    [cell] = cells(put(places(), "state", r4=""))
    assert (cell.row, cell.column, cell.repair) == (4, "state", "PA")


@pytest.mark.parametrize("typo", ["Meadvile", "Meadvilxe", "Maedville", "Meaadville", "MEADVILLE", "Meadville."])
def test_a_typo_is_found_without_any_dependency(typo: str) -> None:
    [cell] = cells(put(places().select("city", "number"), "city", r4=typo))
    assert (cell.row, cell.column, cell.repair) == (4, "city", "Meadville")


def test_short_codes_are_never_typos_of_each_other() -> None:
    codes = [code for code in ("CO", "CA", "WA", "WI", "NC", "ND", "MA", "MI") for _ in range(60)]
    assert cells(pl.DataFrame({"state": [*codes, "WV", "SD", "MT"]})) == []


def test_another_digit_is_another_value() -> None:
    assert cells(pl.DataFrame({"room": ["building 7 floor 1"] * 50 + ["building 8 floor 1"]})) == []


def test_another_word_is_another_value() -> None:
    assert cells(pl.DataFrame({"street": ["1010 north main street"] * 50 + ["1010 south main street"]})) == []


def test_a_plural_is_no_typo() -> None:
    assert cells(pl.DataFrame({"kind": ["imperial stout"] * 50 + ["imperial stouts"]})) == []


def test_a_state_that_stands_in_the_city_is_found_in_both_columns() -> None:
    frame = put(
        put(places(), "city", r4="Meadville PA", r11="Springfield IL", r18="Bend OR"), "state", r4="", r11="", r18=""
    )
    found = {(cell.row, cell.column): cell.repair for cell in cells(frame)}
    assert found == {
        (4, "city"): "Meadville",
        (4, "state"): "PA",
        (11, "city"): "Springfield",
        (11, "state"): "IL",
        (18, "city"): "Bend",
        (18, "state"): "OR",
    }


def test_units_that_are_written_in_several_ways_are_found_in_the_whole_column() -> None:
    units = [" oz", " oz.", " ounce", " OZ."]
    frame = pl.DataFrame({"size": [f"{12 + at % 13}.0{units[at % 4]}" for at in range(100)]})
    found = cells(frame)
    assert len(found) == 100
    assert found[0].repair == "12"


def test_a_unit_that_is_always_the_same_is_no_error_but_another_one_is() -> None:
    values = [f"{at % 60} patients" for at in range(300)]
    assert cells(pl.DataFrame({"sample": values})) == []
    assert where(put(pl.DataFrame({"sample": values}), "sample", r7="7 paxients")) == {(7, "sample")}


def test_a_sign_behind_few_numbers_is_found() -> None:
    values = [f"0.0{at % 90 + 10}" + ("%" if at % 4 == 0 else "") for at in range(300)]
    found = cells(pl.DataFrame({"share": values}))
    assert [cell.row for cell in found] == list(range(0, 300, 4))
    assert found[0].repair == "0.010"


def test_digits_of_binary_fractions_are_found() -> None:
    values = [f"0.0{at % 90 + 10}" for at in range(300)]
    [cell] = cells(put(pl.DataFrame({"share": values}), "share", r5="0.055999999999999994"))
    assert (cell.row, cell.repair) == (5, "0.056")


def test_missing_values_are_written_in_one_way() -> None:
    values = [("" if at % 10 == 0 else str(at % 37)) for at in range(300)]
    frame = pl.DataFrame({"a": values, "b": [value or "N/A" for value in values]})
    assert where(frame) == {(row, "b") for row in range(0, 300, 10)}


def test_a_marker_that_is_the_only_way_is_no_error() -> None:
    values = [("?" if at % 10 == 0 else str(at % 37)) for at in range(300)]
    assert cells(pl.DataFrame({"a": values})) == []


def test_another_form_than_nearly_all_is_found() -> None:
    times = pl.DataFrame({"time": [f"{at % 12 + 1}:{at % 60:02d} a.m." for at in range(300)]})
    assert where(put(times, "time", r8="12/02/2011 6:55 a.m.", r9="6.55")) == {(8, "time"), (9, "time")}


def test_a_letter_in_a_number_is_found() -> None:
    assert where(put(places(), "number", r9="4x", r20="1O1")) == {(9, "number"), (20, "number")}


def test_a_number_far_from_all_others_is_found_but_a_long_tail_is_not() -> None:
    rng = np.random.default_rng(0)
    heights = rng.normal(170, 10, size=500).round(1)
    heights[3] = 17000
    assert where(pl.DataFrame({"height": heights})) == {(3, "height")}
    assert cells(pl.DataFrame({"income": rng.lognormal(8, 1.5, size=5000).round(2)})) == []


def test_every_column_is_read_as_text_whatever_its_type() -> None:
    table = pa.table(
        {"a": pa.array([1, 2, None] * 50), "b": pa.array([b"x", None, b"y"] * 50), "c": [[1], [2], []] * 50}
    )
    assert suspects(table, relations=Relations()).columns == ["a", "b", "c"]


def test_blocks_are_looked_at_one_after_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    frame = put(put(places(1000), "state", r4="OR"), "state", r904="OR")
    monkeypatch.setattr(search, "BLOCK_ROWS", 300)
    assert where(frame) == {(4, "state"), (904, "state")}


def test_no_more_cells_are_kept_than_the_budget_and_those_are_the_surest() -> None:
    frame = put(put(places(), "state", r4="OR", r10="OR"), "number", r9="4x")
    every = suspects(scan(frame))
    some = suspects(scan(frame), budget=1)
    assert (len(every), len(some), some.left_out) == (3, 1, 2)
    assert some.cells[0].score == max(cell.score for cell in every.cells)


def test_an_empty_table_has_no_suspects() -> None:
    found = suspects(pa.table({"a": pa.array([], pa.string())}))
    assert (found.rows, len(found)) == (0, 0)


def test_figures_compare_by_position_as_text() -> None:
    clean = places().rename({"city": "town"})
    dirty = put(put(places(), "state", r4="OR"), "number", r7="9")
    figures = {one.column: one for one in measure(suspects(scan(dirty)), scan(dirty), scan(clean))}
    assert (figures[""].wrong, figures[""].suspects, figures[""].hits) == (2, 1, 1)
    assert (figures["state"].f1, figures["number"].recall, figures["city"].f1) == (1.0, 0.0, 1.0)


def test_a_clean_table_of_another_shape_is_refused() -> None:
    with pytest.raises(DataError, match="240 x 4"):
        measure(suspects(scan(places())), scan(places()), scan(places().head(9)))
