"""TFDV's schemas as ours: what they say, what is lost and told, and what is wrong with them."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perennial.data.forms.textproto import Word, parse
from perennial.data.forms.tfdv import from_tfdv
from perennial.data.schema import Column, Schema
from perennial.errors import Invalid

# In the form in which TFDV writes what it inferred from taxi trips and a person then changed.
TAXI = """\
# proto-file: tensorflow_metadata/proto/v0/schema.proto
# proto-message: Schema
feature {
  name: "payment_type"
  type: BYTES
  domain: "payment_type"
  presence { min_fraction: 1.0 min_count: 1 }
  distribution_constraints { min_domain_mass: 0.9 }
  skew_comparator { infinity_norm { threshold: 0.01 } }
  shape { dim { size: 1 } }
}
feature {
  name: "company"
  value_count { min: 1 max: 1 }
  type: BYTES
  domain: "company"
  presence { min_count: 1 }
  drift_comparator { infinity_norm { threshold: 0.001 } }
}
feature {
  name: "fare"
  type: FLOAT
  presence { min_fraction: 0.5 min_count: 1 }
  float_domain { min: 0.0 max: inf }
  drift_comparator { jensen_shannon_divergence { threshold: 0.2 } }
  shape { dim { size: 1 } }
}
feature {
  name: "trip_start_hour"
  type: INT
  int_domain { min: 0 max: 23 }
  presence { min_fraction: 1.0 min_count: 1 }
  shape { dim { size: 1 } }
}
feature {
  name: "tips"
  type: FLOAT
  presence { min_fraction: 1.0 min_count: 1 }
  not_in_environment: "SERVING"
  shape { dim { size: 1 } }
}
string_domain { name: "payment_type" value: "Cash" value: "Credit Card" }
string_domain { name: "company" value: ["0118 - 42111 Godfrey S.Awir", 'Dispatch \\'Taxi\\''] }
default_environment: "TRAINING"
default_environment: "SERVING"
"""


def column(text: str, **more: str) -> tuple[Column, list[str]]:
    schema, lost = from_tfdv(f'feature {{ name: "x" presence {{ min_fraction: 1 min_count: 1 }} {text} }}')
    return schema.columns[0], lost


def test_a_schema_as_tfdv_writes_it_is_taken_over_whole() -> None:
    schema, lost = from_tfdv(TAXI)
    assert lost == []
    assert schema == Schema(
        columns=[
            Column(
                name="payment_type",
                type="string",
                categories=["Cash", "Credit Card"],
                coverage=0.9,
                skew_limit=0.01,
                severity="error",
            ),
            Column(
                name="company",
                type="string",
                nullable=True,
                categories=["0118 - 42111 Godfrey S.Awir", "Dispatch 'Taxi'"],
                drift_limit=0.001,
                severity="error",
            ),
            Column(
                name="fare",
                type="float64",
                nullable=True,
                presence=0.5,
                at_least=0.0,
                drift_limit=0.2,
                severity="error",
            ),
            Column(name="trip_start_hour", type="int64", at_least=0.0, at_most=23.0, severity="error"),
            Column(name="tips", type="float64", absent_in=["serving"], severity="error"),
        ]
    )


@pytest.mark.parametrize(
    "text, expected",
    [
        ('type: BYTES bool_domain { true_value: "yes" false_value: "no" }', {"categories": ["no", "yes"]}),
        ("type: BYTES bool_domain { }", {"categories": ["false", "true"]}),
        ("type: INT bool_domain { }", {"at_least": 0.0, "at_most": 1.0}),
        ('type: BYTES string_domain { value: "a" value: "a" }', {"categories": ["a"]}),
        ('string_domain { value: "a" }', {"type": "string", "categories": ["a"]}),
        ("type: BYTES int_domain { }", {"patterns": ["[+-]?[0-9]+"]}),
        ("type: FLOAT value_count { max: 3 }", {"type": "list<item: double>"}),
        ("type: INT shape { dim { size: 2 } }", {"type": "list<item: int64>"}),
        ("type: INT shape { }", {"type": "int64"}),
        ("type: INT lifecycle_stage: DEPRECATED int_domain { max: 3 }", {"nullable": True, "at_most": None}),
        ("type: INT lifecycle_stage: PRODUCTION", {"nullable": False}),
        ('type: INT in_environment: "TRAINING"', {"absent_in": []}),
        ('type: INT not_in_environment: "TRAINING"', {"absent_in": ["training"]}),
    ],
)
def test_a_feature_becomes_a_column(text: str, expected: dict[str, object]) -> None:
    made, _ = column(text)
    assert {name: getattr(made, name) for name in expected} == expected


def test_environments_follow_tfdvs_rule() -> None:
    schema, _ = from_tfdv(
        'default_environment: "TRAINING" default_environment: "SERVING"'
        ' feature { name: "a" type: INT in_environment: "TEST" }'
        ' feature { name: "b" type: INT not_in_environment: "SERVING" }'
        ' feature { name: "c" type: INT presence { min_count: 1 } }'
    )
    assert [found.absent_in for found in schema.columns] == [
        ["serving", "training"],  # without a presence it need not be there at all
        ["serving", "test", "training"],
        [],
    ]


@pytest.mark.parametrize(
    "text, told",
    [
        ("type: STRUCT struct_domain { }", "of type STRUCT"),
        ("image_domain { }", "of type TYPE_UNKNOWN"),
    ],
)
def test_a_feature_that_is_no_column_is_told(text: str, told: str) -> None:
    schema, lost = from_tfdv(f'feature {{ name: "y" type: INT }} feature {{ name: "x" {text} }}')
    assert [found.name for found in schema.columns] == ["y"]
    assert len(lost) == 1
    assert told in lost[0]


@pytest.mark.parametrize(
    "text, told",
    [
        ("type: INT unique_constraints { min: 1 max: 9 }", "unique_constraints (line 1)"),
        ("type: INT drift_comparator { infinity_norm { threshold: 0.1 } }", "drift_comparator.infinity_norm"),
        (
            "type: BYTES skew_comparator { normalized_abs_difference { threshold: 0.1 } }",
            "skew_comparator.normalized_abs_difference",
        ),
        ("type: BYTES time_domain { string_format: '%Y' }", "time_domain"),
        ("type: INT int_domain { min: 0 is_categorical: true }", "int_domain.is_categorical"),
        ("type: INT int_domain { max: 9007199254740993 }", "max 9007199254740993"),
        ("type: BYTES int_domain { min: 0 }", "the limits of its int_domain"),
        ('type: INT string_domain { value: "1" }', "its string_domain, as it holds int64"),
        ("type: INT distribution_constraints { min_domain_mass: 0.5 }", "distribution_constraints"),
        ("type: INT value_count { min: 1 max: 4 }", "how many values"),
        ("type: INT lifecycle_stage: ALPHA", "of stage ALPHA"),
        ("type: INT deprecated: true", "of stage DEPRECATED"),
        ('type: INT annotation { comment: "of the meter" }', "annotation (line 1)"),
        ("type: INT something_of_tomorrow: 3", "something_of_tomorrow"),
    ],
)
def test_what_cannot_be_said_here_is_told_and_not_lost_in_silence(text: str, told: str) -> None:
    _, lost = column(text)
    assert len(lost) == 1
    assert lost[0].startswith("feature 'x': ")
    assert told in lost[0]


def test_what_is_lost_of_the_whole_schema_is_told_with_its_line() -> None:
    schema, lost = from_tfdv(
        'feature { name: "x" type: INT presence { min_fraction: 1 min_count: 7 } }\n'
        "dataset_constraints { min_examples_count: 50 max_examples_count: 90 }\n"
        'sparse_feature { name: "s" }\n'
        'int_domain { name: "unused" min: 3 }\n'
    )
    assert schema.min_rows == 50
    assert lost == [
        "feature 'x': presence.min_count of 7; at least one value has to be there",
        "dataset_constraints.max_examples_count (line 2)",
        "sparse_feature (line 3)",
    ]


@pytest.mark.parametrize(
    "text, says, line",
    [
        ("feature { type: INT }", "a feature has no name", 1),
        ('\nfeature { name: "x" type: INT }\nfeature { name: "x" type: INT }', "'x' is there twice", 3),
        ('feature { name: "x" type: BYTES domain: "y" }', "names the domain 'y'", 1),
        ('feature { name: "x" name: "y" type: INT }', "name is there twice", 1),
        ("feature { name: x type: INT }", "name is not a text in quotes", 1),
        ('feature { name: "x" type: "INT" }', "type is not a word", 1),
        ('feature {\n name: "x" type: INT\n presence: 3\n}', "presence is not fields", 3),
        ('feature { name: "x" type: INT presence { min_count: "a" } }', "min_count is not a number", 1),
        ('feature {\n name: "x"', "the end where the name of a field", 2),
        ('feature { name "x" }', "where a colon after 'name' belongs", 1),
        ('feature { name: "x }', "is nothing that protobuf's text format knows", 1),
        ('feature { name: "\\q" type: INT }', "is no escape", 1),
        ('feature { name: "\\xff" type: INT }', "is not UTF-8", 1),
        ('feature { name: "x" }\n}', "'}' where the name", 2),
        ("a { b: 09 }", "no octal number", 1),
        ("a" + " { a" * 200, "nested more than 100 deep", 1),
    ],
)
def test_a_text_that_is_wrong_is_an_error_with_its_line(text: str, says: str, line: int) -> None:
    with pytest.raises(Invalid, match=says) as caught:
        from_tfdv(text)
    assert caught.value.where == f"line {line}"


def test_a_schema_without_features_or_of_no_sense_is_refused() -> None:
    with pytest.raises(Invalid, match="no feature of it can be a column") as caught:
        from_tfdv('feature { name: "x" type: STRUCT }')
    assert "of type STRUCT" in caught.value.where
    with pytest.raises(Invalid, match="above at_most"):
        column("type: INT int_domain { min: 4 max: 3 }")


def test_every_form_of_the_text_format_is_read() -> None:
    message = parse(
        """a: 1, b: -0x1F; c: 017 d: 1.5e3f e: .5 f: -inf  # a comment { " }
        g: "one" ' two'
           "\\x41\\101\\u00e9\\U0001F600\\n" h: [1, 2, 3] i < j: true > k: { l: [] }
        [type.googleapis.com/some.Thing] { m: 'x' } n: [{ o: 1 }, { o: 2 }]"""
    )
    assert [message.number(name) for name in "abcdef"] == [1, -31, 15, 1500.0, 0.5, float("-inf")]
    assert message.text("g") == "one twoAAé😀\n"
    assert [field.value for field in message.fields if field.name == "h"] == [1, 2, 3]
    inner = message.message("i")
    assert inner is not None
    assert (inner.word("j"), type(inner.fields[0].value)) == ("true", Word)
    assert [each.number("o") for each in message.messages("n")] == [1, 2]
    assert list(message.unasked()) == [("h", 3)] * 3 + [("k", 3), ("[type.googleapis.com/some.Thing]", 4)]


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_a_text_comes_back_however_it_is_escaped(text: str) -> None:
    escaped = "".join(f"\\{byte:03o}" for byte in text.encode())
    plain = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    message = parse(f'a: "{escaped}" b: "{plain}"')
    assert (message.text("a"), message.text("b")) == (text, text)


@given(st.text("{}<>[]:;,\"'\\#ab1.- \n", max_size=40))
def test_whatever_the_text_is_it_is_read_or_refused_with_a_line(text: str) -> None:
    try:
        told = f"line {parse(text).line}"
    except Invalid as error:
        told = error.where
    assert re.fullmatch(r"line \d+", told)
