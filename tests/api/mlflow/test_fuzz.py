"""Random filters, orders and tokens sent to every search: an answer or a refusal in JSON, never a failure of ours."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tests.api.mlflow.wire import AT, Wire, checked

SEARCHES = {
    "runs": ("POST", "runs/search", {"experiment_ids": ["0", "1"]}),
    "experiments": ("POST", "experiments/search", {"max_results": 5}),
    "experiments by query": ("GET", "experiments/search", {"max_results": 5}),
    "logged models": ("POST", "logged-models/search", {"experiment_ids": ["0", "1"]}),
    "registered models": ("GET", "registered-models/search", {}),
    "model versions": ("GET", "model-versions/search", {}),
}
ALL = pytest.mark.parametrize("name", SEARCHES)

KEYS = (
    "name", "run_id", "status", "start_time", "end_time", "creation_time", "creation_timestamp", "version_number",
    "experiment_id", "last_update_time", "last_updated_timestamp", "source_path", "model_id", "run_name",
    "artifact_uri", "digest", "context", "timestamp", "loss", "mlflow.runName", "mlflow.prompt.is_prompt",
)  # fmt: skip
ENTITIES = (
    "metrics", "metric", "params", "parameter", "tags", "tag", "attributes", "attr", "run", "dataset", "datasets",
)  # fmt: skip
OPERATORS = (
    "=", "!=", "<", "<=", ">", ">=", "LIKE", "ILIKE", "IN", "NOT IN", "IS NULL", "IS NOT NULL", "<>", "==", "RLIKE",
)  # fmt: skip
VALUES = (
    "1", "-1", "1.5", "1e999", "-1e999", "1e-999", "9" * 400, "'a'", '"a"', "'%'", "'[%_*?'", "'\\'", "''", "('a')",
    "('a', 'b')", "(1, 2)", "()", "NULL", "`a`", "'FINISHED'", "'\U0001f600ä%'", "0x10", "1_000", "NaN", "inf",
    "\N{ARABIC-INDIC DIGIT THREE}",
)  # fmt: skip
PARTS = (
    *KEYS, *ENTITIES, *OPERATORS, *VALUES, ".", ",", "(", ")", "AND", "and", "OR", "NOT", "'", '"', "`", " ", "\n",
    "\0", "\ud800", "\x85", "\u2028", ";", "--", "/*", "%s", ":a", "?", "\\", "{}", "=" * 50, "(" * 200, "((", "a.b.c",
)  # fmt: skip


@st.composite
def comparisons(draw: st.DrawFn) -> str:
    """What is valid somewhere, mostly."""
    key = draw(st.sampled_from(KEYS))
    key = draw(st.sampled_from((key, f"`{key}`", f'"{key}"')))
    entity = draw(st.sampled_from(("", *(f"{entity}." for entity in ENTITIES))))
    operator = draw(st.sampled_from(OPERATORS))
    value = "" if operator.startswith("IS") else draw(st.sampled_from(VALUES))
    return f"{entity}{key} {operator} {value}"


@st.composite
def mutated(draw: st.DrawFn) -> str:
    """A valid one with pieces cut out, doubled or put in."""
    text = " AND ".join(draw(st.lists(comparisons(), min_size=1, max_size=3)))
    for _ in range(draw(st.integers(1, 4))):
        at, size = draw(st.integers(0, len(text))), draw(st.integers(0, 4))
        text = text[:at] + draw(st.sampled_from(("", *PARTS))) + text[at + size :]
    return text


FILTERS = (
    st.lists(comparisons(), max_size=4).map(" AND ".join)
    | mutated()
    | st.lists(st.sampled_from(PARTS), max_size=12).map(" ".join)
    | st.text(st.characters(codec=None), max_size=40)
)
ORDER = st.tuples(
    st.sampled_from(("", "metrics.", "params.", "tags.")), st.sampled_from(KEYS), st.sampled_from(("", " DESC", " asc"))
).map("".join)
ORDERS = st.lists(ORDER | mutated(), max_size=3)
GIVEN_BEFORE = ("", "MA==", "LTE=", "MQ==", "OTk5OTk5OTk5OTk5OTk5OTk5OTk=", "WyJhIl0=", "WzEsbnVsbF0=", "?")
TOKENS = st.sampled_from(GIVEN_BEFORE) | st.text(max_size=20)


@pytest.fixture(scope="module")
def filled(wire: Wire) -> Wire:
    """With one of each to be found."""
    experiment = wire.made("experiments/create", name="a", tags=[{"key": "loss", "value": "a"}])["experiment_id"]
    run = wire.made("runs/create", experiment_id=experiment, run_name="a")["run"]["info"]["run_id"]
    metrics = [{"key": "loss", "value": value, "timestamp": 1, "step": 0} for value in (1, "NaN", "Infinity")]
    wire.made("runs/log-batch", run_id=run, metrics=metrics, tags=[{"key": "loss", "value": "a"}])
    wire.made("logged-models", experiment_id=experiment, name="a", source_run_id=run)
    wire.made("registered-models/create", name="a", tags=[{"key": "loss", "value": "a"}])
    wire.made("model-versions/create", name="a", source="s3://bucket/model", run_id=run)
    return wire


def search(wire: Wire, name: str, **arguments: Any) -> Any:
    method, path, more = SEARCHES[name]
    if method == "GET":
        texts = {key: _encoded(value) for key, value in (more | arguments).items()}
        answer = wire.get(AT + path, **texts)
    else:
        answer = wire.send(method, AT + path, json.dumps(more | arguments).encode())
    told = checked(answer, (name, arguments))
    assert answer.status in (200, 400), (name, arguments, answer.body)
    return told


def _encoded(value: Any) -> Any:
    if isinstance(value, list):
        return [_encoded(item) for item in value]
    return value.encode("utf-8", "surrogatepass") if isinstance(value, str) else value


@ALL
def test_no_filter_order_or_token_makes_a_search_fail(filled: Wire, name: str) -> None:
    def orders(asked: list[str]) -> list[Any]:
        return [{"field_name": text} for text in asked] if name == "logged models" else asked

    @settings(max_examples=120, suppress_health_check=[HealthCheck.too_slow])
    @given(text=FILTERS, by=ORDERS, token=TOKENS)
    @example(text="version_number > 1.5 AND creation_timestamp < 1e999", by=[], token="")
    @example(text="attributes.creation_time < 1e999 AND creation_time > 1.5", by=[], token="")
    @example(text="run_id IN ('a\0')", by=[], token="")
    @example(text="tags.`a\0` = 'a' AND name IN ('\0')", by=["tags.`\0`"], token="")
    @example(text="tags.`a\ud800` = 'a'", by=[], token="")
    @example(text="tags.loss ILIKE '%ä%' AND name ILIKE '" + "ä[" * 4_900 + "'", by=[], token="")
    def check(text: str, by: list[str], token: str) -> None:
        search(filled, name, filter=text, order_by=orders(by), page_token=token)

    check()


LONG = {
    "ten thousand letters": "a" * 10_000,
    "ten thousand and one": "a" * 10_001,
    "a number": "metrics.loss < " + "9" * 9_900,
    "spaces": "metrics.loss" + " " * 9_900 + "< 1",
    "a space too many": "tags.a" + " " * 9_900 + "b",
    "dots": "tags" + ".a" * 4_900 + " = 'a'",
    "parentheses": "name IN " + "(" * 9_900,
    "a list": "name IN (" + ",".join(["'a'"] * 1_001) + ")",
    "terms": " AND ".join(["name = 'a'"] * 101),
    "tags": " AND ".join(f"tags.k{number} = 'a'" for number in range(100)),
    "metrics": " AND ".join(f"metrics.k{number} = 1" for number in range(100)),
    "wildcards": "name LIKE '" + "%a" * 4_900 + "'",
    "wildcards of any case": "name ILIKE '" + "%_" * 4_900 + "'",
    "brackets": "name LIKE '" + "[" * 9_900 + "'",
    "quotes": "`" * 9_999,
    "backslashes": "name LIKE '" + "\\" * 9_900 + "'",
}


@ALL
@pytest.mark.parametrize("case", LONG)
def test_C18_a_long_filter_is_answered_or_refused(filled: Wire, name: str, case: str) -> None:
    search(filled, name, filter=LONG[case])
    if SEARCHES[name][0] == "POST":  # an address is shorter
        search(filled, name, filter=LONG[case] * 50)


@ALL
@pytest.mark.parametrize(
    "text",
    ["tags.a" + " " * 100_000 + "b", "a " * 50_000, "`" * 100_000, "." * 100_000, " desc" * 20_000, " " * 200_000],
    ids=["spaces", "words", "quotes", "dots", "ways", "blank"],
)
def test_C18_a_long_order_is_refused(filled: Wire, name: str, text: str) -> None:
    if SEARCHES[name][0] == "GET":
        text = text[:20_000]
    by: list[Any] = [{"field_name": text}] if name == "logged models" else [text]
    assert search(filled, name, order_by=by)["error_code"] == "INVALID_PARAMETER_VALUE"


@pytest.mark.parametrize("name", ["runs", "logged models", "experiments"])
@pytest.mark.parametrize("count", [20, 21, 64, 1_000])
def test_many_orders_are_answered_or_refused(filled: Wire, name: str, count: int) -> None:
    keys = [f"metrics.k{number}" for number in range(count)] if name != "experiments" else ["name"] * count
    told = search(filled, name, order_by=[{"field_name": key} for key in keys] if name == "logged models" else keys)
    assert ("error_code" in told) == (count > 20)


@pytest.mark.parametrize("name", ["runs", "logged models"])
def test_many_experiments_are_answered_or_refused(filled: Wire, name: str) -> None:
    for count in (1_000, 1_001, 40_000, 100_000):
        assert ("error_code" in search(filled, name, experiment_ids=["1"] * count)) == (count > 1_000)


def test_many_datasets_are_answered_or_refused(filled: Wire) -> None:
    for count in (100, 101, 2_000):
        told = search(filled, "logged models", datasets=[{"dataset_name": "a"}] * count)
        assert ("error_code" in told) == (count > 100)
