"""Search: what a filter lets through, in which order, page by page."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from perennial.clock import FixedClock
from perennial.errors import Invalid
from perennial.registry.model_versions import ModelVersions
from perennial.registry.reading import RegisteredVersion
from perennial.registry.registered import Registered
from perennial.registry.versions import Models
from perennial.store.records import Records

BOTH = pytest.mark.parametrize("records", ["sqlite", "postgresql"], indirect=True)
RUN = "0123456789abcdef" * 2
MODEL_FILTERS: list[tuple[str, list[str]]] = [
    ("", ["Alpha", "beta", "gamma_1", "wages"]),
    ("name = 'beta'", ["beta"]),
    ("name != 'beta'", ["Alpha", "gamma_1", "wages"]),
    ("attribute.name LIKE '%a'", ["Alpha", "beta"]),
    ("name LIKE 'A%'", ["Alpha"]),
    ("name LIKE 'a%'", []),
    ("name ilike 'a%'", ["Alpha"]),
    ("name LIKE 'gamma__'", ["gamma_1"]),
    ("name IN ('beta', 'wages', 'none')", ["beta", "wages"]),
    ("name NOT IN ('beta')", ["Alpha", "gamma_1", "wages"]),
    ("tags.team = 'a'", ["Alpha"]),
    ("tag.team != 'a'", ["beta"]),
    ("tags.`odd key.x` = '1' AND tags.team LIKE 'b'", ["beta"]),
    ("tags.team = 'a' and name = 'beta'", []),
    ("tags.team != 'x' AND tags.team != 'a'", ["beta"]),
    ("tag.`mlflow.prompt.is_prompt` != 'true'", ["Alpha", "beta", "gamma_1", "wages"]),
    ("tags.`mlflow.prompt.is_prompt` = 'false' AND name = 'beta'", ["beta"]),
    ("tags.`mlflow.prompt.is_prompt` = 'true'", []),
]
VERSION_FILTERS: list[tuple[str, list[str]]] = [
    ("name = 'Alpha'", ["Alpha/2", "Alpha/1"]),
    (f"run_id = '{RUN}'", ["Alpha/2", "beta/1"]),
    (f"run_id IN ('{RUN}', 'r1')", ["wages/1", "Alpha/2", "beta/1"]),
    ("run_id = 'r1' AND name = 'wages'", ["wages/1"]),
    ("source_path LIKE 's3://%'", ["beta/1", "Alpha/1"]),
    ("source_path = 'mlflow-artifacts:/packages/wages/1'", ["wages/1"]),
    ("version_number > 1", ["Alpha/2"]),
    ("version_number <= 1.5 AND name = 'Alpha'", ["Alpha/1"]),
    ("creation_timestamp >= 1700000006000", ["wages/1", "Alpha/2"]),
    ("last_updated_timestamp < 1700000006000", ["beta/1", "Alpha/1"]),
    ("tags.from = 'gs'", ["Alpha/2"]),
    ("tags.from != 'gs'", ["beta/1", "Alpha/1"]),
]
ORDERS: list[tuple[list[str], list[str]]] = [
    ([], ["Alpha", "beta", "gamma_1", "wages"]),
    (["name DESC"], ["wages", "gamma_1", "beta", "Alpha"]),
    (["last_updated_timestamp"], ["gamma_1", "beta", "Alpha", "wages"]),
    (["timestamp DESC", "name"], ["wages", "Alpha", "beta", "gamma_1"]),
]


@pytest.fixture
def filled(registered: Registered, model_versions: ModelVersions, models: Models, clock: FixedClock) -> Records:
    for name, tags in (("Alpha", {"team": "a"}), ("beta", {"team": "b", "odd key.x": "1"}), ("gamma_1", {})):
        clock.advance(1)
        registered.create(name=name, tags=tags)
    for name, source, run in (("Alpha", "s3://b/1", None), ("beta", "s3://b/2", RUN), ("Alpha", "gs://b/3", RUN)):
        clock.advance(1)
        model_versions.create(name=name, source=source, run_id=run, tags={"from": source[:2]})
    clock.advance(1)
    models.register(name="wages", package="a" * 64, origin="loop", run_id="r1")
    return registered._records


def names(registered: Registered, **asked: Any) -> list[str]:
    return [model.name for model in registered.search(**asked).models]


def paged(registered: Registered, order_by: list[str], size: int) -> Iterator[list[str]]:
    token = ""
    while True:
        page = registered.search(order_by=order_by, max_results=size, page_token=token)
        yield [model.name for model in page.models]
        token = page.next_page_token
        if not token:
            return


def numbers(found: list[RegisteredVersion]) -> list[str]:
    return [f"{version.name}/{version.version}" for version in found]


@BOTH
@pytest.mark.usefixtures("filled")
def test_models_that_a_filter_lets_through(registered: Registered) -> None:
    for text, expected in MODEL_FILTERS:
        assert sorted(names(registered, filter=text)) == sorted(expected), text


@BOTH
@pytest.mark.usefixtures("filled")
def test_versions_that_a_filter_lets_through(model_versions: ModelVersions) -> None:
    for text, expected in VERSION_FILTERS:
        assert numbers(model_versions.search(filter=text).versions) == expected, text


@pytest.mark.parametrize(
    "what, asked",
    [
        ("models", {"filter": "name = 'a' OR name = 'b'"}),
        ("models", {"filter": "name > 'a'"}),
        ("models", {"filter": "name = 3"}),
        ("models", {"filter": "bogus = 'a'"}),
        ("models", {"filter": "metrics.x = 'a'"}),
        ("models", {"filter": "tags.a > 'a'"}),
        ("models", {"filter": "tags.a = 1"}),
        ("models", {"filter": "creation_timestamp > 1"}),
        ("models", {"order_by": ["creation_timestamp"]}),
        ("models", {"order_by": ["name", "name DESC"]}),
        ("models", {"order_by": ["timestamp", "last_updated_timestamp"]}),
        ("models", {"order_by": ["tags.a"]}),
        ("models", {"max_results": 0}),
        ("models", {"max_results": 1_001}),
        ("models", {"page_token": "bogus"}),
        ("models", {"page_token": "WzFd"}),
        ("models", {"page_token": "WyJcdTAwMDAiXQ=="}),
        ("versions", {"filter": "version_number = '1'"}),
        ("versions", {"filter": "version_number LIKE '1'"}),
        ("versions", {"filter": "run_id IN ()"}),
        ("versions", {"filter": "current_stage = 'None'"}),
        ("versions", {"order_by": ["run_id"]}),
        ("versions", {"max_results": 200_001}),
        ("versions", {"max_results": -1}),
        ("versions", {"page_token": "WzE4NDQ2NzQ0MDczNzA5NTUxNjE2LCAiYSIsIDFd"}),
    ],
)
def test_C15_what_cannot_be_read_is_refused(
    registered: Registered, model_versions: ModelVersions, what: str, asked: dict[str, Any]
) -> None:
    with pytest.raises(Invalid):
        (registered if what == "models" else model_versions).search(**asked)


@BOTH
@pytest.mark.usefixtures("filled")
def test_models_come_in_order_page_by_page(registered: Registered) -> None:
    for order_by, expected in ORDERS:
        for size in (1, 3, 4, 100):
            pages = list(paged(registered, order_by, size))
            assert [name for page in pages for name in page] == expected, (order_by, size)
            assert [len(page) for page in pages[:-1]] == [size] * (len(pages) - 1)
            assert pages[-1]


@BOTH
@pytest.mark.usefixtures("filled")
def test_what_is_registered_between_two_pages_shifts_nothing(
    model_versions: ModelVersions, registered: Registered
) -> None:
    first = model_versions.search(max_results=2)
    assert numbers(first.versions) == ["wages/1", "Alpha/2"]
    model_versions.create(name="gamma_1", source="s3://b/new")
    rest = model_versions.search(max_results=10, page_token=first.next_page_token)
    assert (numbers(rest.versions), rest.next_page_token) == (["beta/1", "Alpha/1"], "")
    with pytest.raises(Invalid, match="Invalid page token"):
        model_versions.search(order_by=["name"], page_token=first.next_page_token)


@BOTH
@pytest.mark.usefixtures("filled")
def test_ties_are_broken_by_name_and_then_the_highest_version(
    model_versions: ModelVersions, registered: Registered
) -> None:
    registered.create(name="Aa")
    for name in ("Aa", "beta", "Aa"):
        model_versions.create(name=name, source="s3://b/x")
    newest = model_versions.search(filter="source_path = 's3://b/x'").versions
    assert numbers(newest) == ["Aa/2", "Aa/1", "beta/2"]
    assert numbers(model_versions.search(order_by=["version_number"], max_results=3).versions) == [
        "Aa/1",
        "Alpha/1",
        "beta/1",
    ]


def test_prompts_are_found_only_when_asked_for(registered: Registered, model_versions: ModelVersions) -> None:
    for name in ("model", "prompt"):
        registered.create(name=name)
        model_versions.create(name=name, source="s3://b/x")
    registered.set_tag(name="prompt", key="mlflow.prompt.is_prompt", value="true")
    model_versions.set_tag(name="prompt", version=1, key="mlflow.prompt.is_prompt", value="true")
    key = "tags.`mlflow.prompt.is_prompt`"
    for text in ("", f"{key} != 'true'", f"{key} = 'false'"):
        assert names(registered, filter=text) == ["model"]
        assert numbers(model_versions.search(filter=text).versions) == ["model/1"]
    for text in (f"{key} = 'true'", f"{key} = 'True' AND {key} = 'true'", f"{key} != 'false'"):
        expected = [] if "True" in text else ["prompt"]
        assert names(registered, filter=text) == expected
        assert numbers(model_versions.search(filter=text).versions) == [f"{name}/1" for name in expected]


_WORDS = st.sampled_from(
    [
        *("name", "tags.", "`a b`", "run_id", "version_number", "source_path", "mlflow.prompt.is_prompt"),
        *("=", "!=", "<", "LIKE", "ILIKE", "IN", "NOT", "(", ")", ",", "AND", "IS NULL"),
        *("'a'", "'%_[*\\'", "1", "1e400", "-0", '"', "'", "\0", "\ud800"),
    ]
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(_WORDS, max_size=12), st.lists(st.text(max_size=12), max_size=2), st.text(max_size=20))
def test_C14_no_text_is_our_fault(
    registered: Registered, model_versions: ModelVersions, words: list[str], order_by: list[str], token: str
) -> None:
    for service in (registered, model_versions):
        for asked in ({"filter": " ".join(words)}, {"order_by": order_by}, {"page_token": token}):
            with suppress(Invalid):  # anything else would be a 5xx
                service.search(**asked)  # type: ignore[arg-type]
