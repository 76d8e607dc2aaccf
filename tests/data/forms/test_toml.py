"""The file that people read and edit: nothing is lost in it, and a slip of the pen is found."""

from __future__ import annotations

import tomllib

import pytest
from hypothesis import given

from perennial.data.evolution import changes
from perennial.data.forms.sound import check_sound
from perennial.data.forms.toml import from_toml, to_toml
from perennial.data.schema import Check, Column, Dependency, Order, Schema
from perennial.errors import Invalid

from .made import schemas

TAXI = Schema(
    columns=[
        Column(name="fare", type="float64", minimum=0.0, maximum=700.07, at_least=0.0),
        Column(name="tips", type="int64", minimum=0.0),
        Column(name="zip code", type="string", patterns=[r"\d{5}"], severity="error"),
        Column(name="paid", type="string", nullable=True, categories=["Cash", 'the "card"']),
    ],
    keys=[["fare", "paid"]],
    dependencies=[
        Dependency(determinants=["fare"], dependent="paid"),
        Dependency(determinants=["paid", "tips"], dependent="fare", holds=0.98),
    ],
    orders=[Order(lower="tips", upper="fare", strict=True)],
    checks=[Check(name="tip", where="tips <= fare"), Check(name="free", where="fare > 0", severity="warning")],
    bad_rows="quarantine",
)
TEXT = """\
min_rows = 1                   # fewer are an error
bad_rows = "quarantine"        # "warn", "quarantine" or "stop"
accept_by_rule = "compatible"  # of the changes that new data show: "compatible", "none" or "all"

[columns]
fare = { type = "float64", minimum = 0.0, maximum = 700.07, at_least = 0.0 }
tips = { type = "int64", minimum = 0 }
"zip code" = { type = "string", patterns = ['\\d{5}'], severity = "error" }
paid = { type = "string", nullable = true, categories = ["Cash", "the \\"card\\""] }

[relations]
keys = [
    ["fare", "paid"],
]
dependencies = [
    { determinants = ["fare"], dependent = "paid" },
    { determinants = ["paid", "tips"], dependent = "fare", holds = 0.98 },
]
orders = [
    { lower = "tips", upper = "fare", strict = true },
]

[[checks]]
name = "tip"
where = "tips <= fare"

[[checks]]
name = "free"
where = "fare > 0"
severity = "warning"
"""


def body(text: str) -> str:
    """Without the comment at the top, which nobody needs to write."""
    return text[text.index("min_rows = ") :] if "min_rows = " in text else text


@given(schemas())
def test_a_schema_comes_back_from_its_file_as_it_was(schema: Schema) -> None:
    check_sound(schema)
    text = to_toml(schema, name="any")
    assert from_toml(text) == schema
    assert changes(schema, from_toml(text)) == []


def test_the_file_reads_well() -> None:
    assert body(to_toml(TAXI)) == TEXT


def test_the_comment_at_the_top_says_all_that_a_column_may_say() -> None:
    told = to_toml(TAXI, name="taxi").partition("\nmin_rows = ")[0]
    assert told.startswith("# The schema of taxi: ")
    assert all(line.startswith("#") for line in told.splitlines() if line)
    assert [word for word in Column.__struct_fields__ if word not in told and word != "name"] == []


def test_a_long_list_goes_over_several_lines_none_of_them_long() -> None:
    names = [f"company {i}" for i in range(200)]
    some = {"patterns": ["[a-z]{20} [0-9]+"], "absent_in": ["serving"], "severity": "error", "drift_limit": 0.01}
    many = Schema(
        columns=[
            Column(name="c", type="string", categories=names),
            Column(name="d", type="string", categories=names[:6], **some),  # type: ignore[arg-type]
        ]
    )
    text = body(to_toml(many))
    assert max(map(len, text.splitlines())) <= 120
    assert from_toml(text) == many


def test_a_table_for_each_column_is_read_as_well_and_a_whole_number_is_a_number() -> None:
    text = '[columns.fare]\ntype = "float64"\nat_least = 0\n\n[columns.tips]\ntype = "float64"\n'
    assert from_toml(text).columns == [
        Column(name="fare", type="float64", at_least=0.0),
        Column(name="tips", type="float64"),
    ]


@pytest.mark.parametrize(
    "old, new, where, remedy",
    [
        ("maximum = 7", "maximun = 7", "line 6, columns.fare.maximun", "did you mean 'maximum'?"),
        ('"float64", minimum', '"flaot64", minimum', "line 6, columns.fare.type", "did you mean 'float64'?"),
        ('"float64", minimum', '"float", minimum', "line 6, columns.fare.type", "did you mean 'float64'?"),
        ("minimum = 0.0", "minimum = 900.0", "line 6, columns.fare.minimum", "exchange them"),
        ("minimum = 0.0", 'minimum = "0"', "line 6, columns.fare.minimum", "say a finite number"),
        ("minimum = 0.0", "minimum = nan", "line 6, columns.fare.minimum", "say a finite number"),
        ("minimum = 0.0", "minimum = true", "line 6, columns.fare.minimum", "mend the value"),
        ('type = "string", pat', "pat", 'line 8, columns."zip code"', "add type"),
        ("{5}", "{5", 'line 8, columns."zip code".patterns', "as Rust does"),
        ('tips = { type = "int64", minimum = 0 }', "tips = 3", "line 7, columns.tips", 'write it as { type'),
        ("nullable = true", "nullable = true, presence = 2", "line 9, columns.paid.presence", "between 0 and 1"),
        ('["fare", "paid"]', '["fair", "paid"]', "line 13, relations.keys[0]", "did you mean 'fare'?"),
        ('dependent = "fare", holds', 'dependent = "fare", hold', "line 17, relations.dependencies[1].hold", "holds"),
        ("holds = 0.98", "holds = 9.8", "line 17, relations.dependencies[1].holds", "between 0 and 1"),
        ('["paid", "tips"]', '["paid", "fare"]', "line 17, relations.dependencies[1]", "take it out"),
        ('upper = "fare", ', "", "line 20, relations.orders[0]", "add upper"),
        ('upper = "fare"', 'upper = "tips"', "line 20, relations.orders[0]", "name two columns"),
        ('"fare > 0"', '" "', "line 29, checks[1].where", "SQL"),
        ('name = "free"', 'name = "tip"', "line 28, checks[1].name", "a name of its own"),
        ("where = \"fare", "were = \"fare", "line 29, checks[1].were", "did you mean 'where'?"),
        ("bad_rows", "bad_row", "line 2, bad_row", "did you mean 'bad_rows'?"),
        ('"quarantine"  ', '"quarantin"  ', "line 2, bad_rows", "mend the value"),
        ("min_rows = 1", "min_rows = -1", "line 1, min_rows", "0 or more"),
        ("[columns]", "[colums]", "line 5, colums", "did you mean 'columns'?"),
        ("[relations]\nkeys", "[relations]\nkey", "line 12, relations.key", "did you mean 'keys'?"),
        ("[columns]", "[columns", "line 5, column 9", "compare the line"),
        ("[columns]", '[columns]\ntips = "bool"', "line 8, column 39", "compare the line"),
    ],
)  # fmt: skip
def test_a_slip_is_found_with_its_line_and_a_remedy(old: str, new: str, where: str, remedy: str) -> None:
    assert TEXT.count(old) >= 1
    with pytest.raises(Invalid) as caught:
        from_toml(TEXT.replace(old, new, 1))
    assert caught.value.where == where
    assert remedy in caught.value.remedy


@pytest.mark.parametrize(
    "text", ["", "columns = 3", "[columns]", "[columns]\na = []", "checks = 3\n[columns]\na = 'bool'"]
)
def test_what_is_no_schema_is_refused(text: str) -> None:
    with pytest.raises(Invalid):
        from_toml(text)


def test_words_of_arrow_are_types_too() -> None:
    text = "[columns]\na = 'list<item: string>'\nb = 'decimal128(9, 2)'\nc = 'time64[us]'\n"
    assert [column.type for column in from_toml(text).columns] == list(tomllib.loads(text)["columns"].values())
