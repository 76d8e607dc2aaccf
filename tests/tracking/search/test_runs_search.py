"""Searching runs, held against the rules as plain Python: random runs, random filters and orders, on both databases.

The rules are those of MLflow's language: what an object lacks fails every comparison, `!=` too; NaN satisfies only
`!=`; LIKE knows case, ILIKE does not; missing values come last in both directions and NaN just before them; ties go by
start, newest first, then by id.
"""

from __future__ import annotations

import math
import operator
import random
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from perennial.errors import Invalid
from perennial.store.records import Records
from perennial.tracking.experiments import Experiments
from perennial.tracking.run import Input, MetricPoint, RunStatus, spelled
from perennial.tracking.runs import Runs
from perennial.tracking.search.grammar import MAX_ORDERS

KEYS = ("k", "with.dots", "with space", "a/b", "Ключ", "and", "K")
TEXTS = (
    "", "a", "A", "b", "ab", "AB", "a%b", "a_b", "axb", "a*b", "a?b", "[ab]", "[", "]", "^a", "a\\b", "\\", "\\%", "%",
    "_", "*", "?", "ä", "Ä", "äb", "Äb", "straße", "x y", "a\nb", "\U0001f600", "ж", "Ж", "null", "1", "it`s",
)  # fmt: skip
PATTERNS = (
    *TEXTS, "a%", "%b", "%a%", "_", "__", "a_b", "%\\%", "%[%", "[ab]%", "%*%", "?", "a?b%", "Ä%",
    "%Ж", "%%", "%_%", "a\\%",
)  # fmt: skip
NUMBERS = (0.0, 1.0, 1.5, -1.5, 0.1, 1e300, -1e300, 5e-324, 2.0**53, math.inf, -math.inf)
COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "=": operator.eq, "!=": operator.ne, "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge,
}  # fmt: skip
STATUSES: tuple[RunStatus, ...] = ("running", "scheduled", "finished", "failed", "killed")
RUNS = 45


@dataclass
class Logged:
    """What was logged to a run, kept beside the database."""

    id: str
    experiment: int
    root: str
    name: str
    user: str
    status: str
    started: int
    ended: int | None
    deleted: bool
    metrics: dict[str, float] = field(default_factory=dict[str, float])
    params: dict[str, str] = field(default_factory=dict[str, str])
    tags: dict[str, str] = field(default_factory=dict[str, str])
    datasets: list[dict[str, str]] = field(default_factory=list[dict[str, str]])


@dataclass(frozen=True)
class Term:
    """A comparison as text, and what it means."""

    text: str
    holds: Callable[[Logged], bool]


@dataclass(frozen=True)
class By:
    """A key to sort by as text, and what it reads; None is missing."""

    text: str
    value: Callable[[Logged], Any]
    ascending: bool


def fill(records: Records, seed: int) -> tuple[Runs, list[int], list[Logged]]:
    """Random runs in two experiments, one with a folder of its own."""
    draw, runs, experiments = random.Random(seed), Runs(records), Experiments(records)
    roots = {
        experiments.create(name="here").id: "mlflow-artifacts:/1",
        experiments.create(name="there", artifact_location="s3://bucket/There/").id: "s3://bucket/There",
    }
    found: list[Logged] = []
    for _ in range(RUNS):
        number = draw.choice(list(roots))
        started = 1_000 * draw.randrange(5) + draw.choice((0, 0, 1, 999))
        user = draw.choice(("ada", "Ada", "grace"))
        name = draw.choice(("", *TEXTS))
        run = runs.start(experiment=number, name=name, person=user, started=started)
        status, ended = draw.choice(STATUSES), draw.choice((None, 1_000, 1_500, 7_000))
        runs.update(run_id=run.id, status=status, ended=ended)
        if not name and draw.random() < 0.5:
            runs.delete_tag(run_id=run.id, key="mlflow.runName")
            name = ""
        elif not name:
            name = run.name
        one = Logged(run.id, number, roots[number], name, user, status.upper(), started, ended, draw.random() < 0.2)
        for key in draw.sample(KEYS, draw.randrange(len(KEYS))):
            one.params[key] = draw.choice(TEXTS)
        for key in draw.sample(KEYS, draw.randrange(len(KEYS))):
            one.tags[key] = draw.choice(TEXTS)
        runs.log_params(run_id=run.id, params=one.params)
        runs.set_tags(run_id=run.id, tags=one.tags)
        for key in draw.sample(KEYS, draw.randrange(len(KEYS))):
            points = [
                (step, draw.randrange(3), draw.choice((*NUMBERS, math.nan))) for step in draw.sample(range(-5, 5), 3)
            ]
            one.metrics[key] = max(points)[2]  # steps differ
            told = [MetricPoint(key=key, value=spelled(value), step=step, at=at) for step, at, value in points]
            runs.log_metrics(run_id=run.id, metrics=told)
        for digest in draw.sample(("d1", "d2", "D1"), draw.randrange(3)):
            one.datasets.append(
                {"name": draw.choice(("wine", "Wine")), "digest": digest, "context": draw.choice(("", "train"))}
            )
        used = [Input(name=d["name"], digest=d["digest"], context=d["context"]) for d in one.datasets]
        runs.log_inputs(run_id=run.id, datasets=used)
        if one.deleted:
            runs.delete(run_id=run.id)
        found.append(one)
    return runs, list(roots), found


def like(pattern: str, text: str, *, fold: bool) -> bool:
    if fold:
        pattern, text = pattern.lower(), text.lower()
    signs = {"%": ".*", "_": "."}
    return re.fullmatch("".join(signs.get(sign) or re.escape(sign) for sign in pattern), text, re.DOTALL) is not None


def text_holds(op: str, value: Any) -> Callable[[str | None], bool]:
    def holds(text: str | None) -> bool:
        if op in ("IS NULL", "IS NOT NULL"):
            return (text is None) == (op == "IS NULL")
        if text is None:
            return False
        if op in ("IN", "NOT IN"):
            return (text in value) == (op == "IN")
        return like(value, text, fold=op == "ILIKE") if "LIKE" in op else COMPARE[op](text, value)

    return holds


def number_holds(op: str, value: float) -> Callable[[float | None], bool]:
    def holds(number: float | None) -> bool:
        return number is not None and (op == "!=" if math.isnan(number) else COMPARE[op](number, value))

    return holds


def quoted(text: str) -> str:
    return f'"{text}"' if "'" in text else f"'{text}'"


def any_case(word: str) -> st.SearchStrategy[str]:
    return st.sampled_from((word, word.lower(), word.capitalize()))


@st.composite
def keyed(draw: st.DrawFn, *entities: str) -> tuple[str, str]:
    """An entity with a key, as it may be written, and the key."""
    key = draw(st.sampled_from(KEYS))
    marks = ["`{}`", '"{}"'] + ([] if " " in key else ["{}"])
    return draw(any_case(draw(st.sampled_from(entities)))) + "." + draw(st.sampled_from(marks)).format(key), key


def spelled_numbers() -> st.SearchStrategy[tuple[str, float]]:
    more = {"1e999": math.inf, "-1e999": -math.inf, "+1": 1.0, ".1": 0.1, "1.": 1.0, "15E-1": 1.5}
    known = {repr(number): number for number in NUMBERS if math.isfinite(number)}
    return st.sampled_from(sorted((more | known).items()))


@st.composite
def comparisons(draw: st.DrawFn, ids: Sequence[str]) -> Term:
    kind = draw(st.sampled_from(("metric", "param", "tag", "attribute", "time", "dataset", "id")))
    space = draw(st.sampled_from(("", " ", " \n ")))
    if kind == "metric":
        (name, key), op = draw(keyed("metrics", "metric")), draw(st.sampled_from(list(COMPARE)))
        text, number = draw(spelled_numbers())
        check = number_holds(op, number)
        return Term(f"{name}{space}{op}{space}{text}", lambda run: check(run.metrics.get(key)))
    if kind == "time":
        names, op = (
            draw(st.sampled_from((("start_time", "created", "attr.start_time"), ("end_time", "run.end_time")))),
            draw(st.sampled_from(list(COMPARE))),
        )
        text, number = draw(st.sampled_from((("0", 0.0), ("1", 1.0), ("1.5", 1.5), ("2.0", 2.0), ("1e999", math.inf))))
        check, is_start = number_holds(op, number), names[0] == "start_time"
        name = draw(st.sampled_from(names))
        return Term(f"{name} {op} {text}", lambda run: check(milliseconds(run.started if is_start else run.ended)))
    if kind in ("dataset", "id"):
        op = draw(st.sampled_from(("IN", "NOT IN")))
        column = draw(st.sampled_from(("name", "digest", "context")))
        known = ("wine", "Wine", "d1", "D1", "train", "") if kind == "dataset" else tuple(ids)
        values = draw(st.lists(st.sampled_from(known), min_size=1, max_size=4))
        if kind == "dataset" and draw(st.booleans()):
            op = draw(st.sampled_from(("=", "!=", "LIKE", "ILIKE")))
            check, shown = text_holds(op, values[0]), quoted(values[0])
        else:
            check, shown = text_holds(op, values), f"({', '.join(map(quoted, values))})"
        if kind == "id":
            return Term(f"run_id {op} {shown}", lambda run: check(run.id))
        entity = draw(st.sampled_from(("dataset", "datasets")))
        return Term(f"{entity}.{column} {op} {shown}", lambda run: any(check(used[column]) for used in run.datasets))
    op = draw(st.sampled_from(("=", "!=", "LIKE", "ILIKE", "IS NULL", "IS NOT NULL")))
    value = draw(st.sampled_from(PATTERNS if "LIKE" in op else TEXTS))
    shown = "" if op.startswith("IS") else quoted(value)
    written, check = draw(any_case(op)), text_holds(op, value)
    if kind == "attribute":
        name, read = draw(st.sampled_from(sorted(ATTRIBUTES.items())))
        return Term(f"{name} {written} {shown}", lambda run: check(read(run)))
    is_param = kind == "param"
    name, key = draw(keyed("params", "parameter", "param") if is_param else keyed("tags", "tag"))
    return Term(f"{name} {written} {shown}", lambda run: check((run.params if is_param else run.tags).get(key)))


def milliseconds(micros: int | None) -> int | None:
    return None if micros is None else micros // 1000


ATTRIBUTES: dict[str, Callable[[Logged], str | None]] = {
    "run_name": lambda run: run.name or None,
    "attributes.run_name": lambda run: run.name or None,
    "tags.mlflow.runName": lambda run: run.name or None,
    "tag.`mlflow.runName`": lambda run: run.name or None,
    "attr.status": lambda run: run.status,
    "user_id": lambda run: run.user,
    "Attribute.artifact_uri": lambda run: f"{run.root}/{run.id}/artifacts",
}


@st.composite
def orders(draw: st.DrawFn) -> By:
    ascending, kind = draw(st.booleans()), draw(st.sampled_from(("metric", "param", "tag", "attribute")))
    way = draw(st.sampled_from((" ASC", " asc", "") if ascending else (" DESC", "  desc ")))
    if kind == "attribute":
        more = {"start_time": lambda run: run.started, "end_time": lambda run: run.ended, "run_id": lambda run: run.id}
        name, read = draw(st.sampled_from(sorted((ATTRIBUTES | more).items(), key=str)))
        return By(name + way, read, ascending)
    name, key = draw(keyed(kind + "s", kind))
    return By(name + way, lambda run: getattr(run, kind + "s").get(key), ascending)


def expected(found: Sequence[Logged], terms: Sequence[Term], by: Sequence[By], view: str) -> list[str]:
    kept = [run for run in found if view == "all" or run.deleted == (view == "deleted")]
    kept = [run for run in kept if all(term.holds(run) for term in terms)]
    kept.sort(key=lambda run: (-run.started, run.id))
    for key in reversed(by):
        values = {run.id: key.value(run) for run in kept}
        missing = [run for run in kept if values[run.id] is None]
        nan = [run for run in kept if isinstance(values[run.id], float) and math.isnan(values[run.id])]
        rest = [run for run in kept if run not in missing and run not in nan]
        kept = [*sorted(rest, key=lambda run: values[run.id], reverse=not key.ascending), *nan, *missing]
    return [run.id for run in kept]


@pytest.mark.parametrize("seed", [1, 2])
def test_a_search_finds_what_the_rules_say_in_their_order(both: Records, seed: int) -> None:
    runs, numbers, found = fill(both, seed)
    ids = [run.id for run in found[:5]]

    @settings(max_examples=75, suppress_health_check=[HealthCheck.too_slow])
    @given(
        terms=st.lists(comparisons(ids), max_size=3),
        by=st.lists(orders(), max_size=3),
        view=st.sampled_from(("active", "deleted", "all")),
        within=st.sampled_from((numbers, numbers[:1], numbers[1:])),
        joint=st.sampled_from((" AND ", " and ", "\nAND ")),
    )
    def check(terms: list[Term], by: list[By], view: Any, within: list[int], joint: str) -> None:
        text, keys = joint.join(term.text for term in terms), [key.text for key in by]
        page = runs.search(experiments=within, filter=text, order_by=keys, view=view)
        there = [run for run in found if run.experiment in within]
        assert [run.id for run in page.runs] == expected(there, terms, by, view), (text, keys)

    check()


def test_every_pattern_on_every_text_and_every_comparison_of_numbers(both: Records) -> None:
    runs, numbers, found = fill(both, 4)
    terms = [
        Term(f"{name} {op} {quoted(pattern)}", lambda run, read=read, check=text_holds(op, pattern): check(read(run)))
        for name, read in {"tags.k": lambda run: run.tags.get("k"), **ATTRIBUTES}.items()
        for op in ("LIKE", "ILIKE", "=", "!=")
        for pattern in PATTERNS
        if name in ("tags.k", "run_name")
    ]
    whole = ATTRIBUTES["Attribute.artifact_uri"]
    for op in ("=", "!=", "LIKE", "ILIKE"):
        for run in found[:4]:
            check, uri = text_holds(op, whole(run)), quoted(whole(run) or "")
            terms.append(Term(f"artifact_uri {op} {uri}", lambda run, check=check: check(whole(run))))
    for op in COMPARE:
        for number in (*NUMBERS[:-2], 2.0):
            check = number_holds(op, number)
            terms.append(Term(f"metrics.k {op} {number!r}", lambda run, check=check: check(run.metrics.get("k"))))
            if abs(number) < 10:
                started = lambda run, check=check: check(milliseconds(run.started))  # noqa: E731
                terms.append(Term(f"start_time {op} {number!r}", started))
    for term in terms:
        page = runs.search(experiments=numbers, filter=term.text, view="all")
        assert [run.id for run in page.runs] == expected(found, [term], [], "all"), term.text


def test_all_pages_together_are_the_whole(both: Records) -> None:
    runs, numbers, found = fill(both, 3)

    @settings(max_examples=25, suppress_health_check=[HealthCheck.too_slow])
    @given(by=st.lists(orders(), max_size=2), size=st.integers(1, RUNS + 1))
    def check(by: list[By], size: int) -> None:
        keys, token, seen = [key.text for key in by], "", []
        while True:
            page = runs.search(experiments=numbers, order_by=keys, view="all", limit=size, page_token=token)
            seen += [run.id for run in page.runs]
            if page.next_page_token is None:
                break
            assert len(page.runs) == size
            token = page.next_page_token
        assert seen == expected(found, [], by, "all")

    check()


def test_a_hundred_metrics_in_one_filter_and_an_order_by_many(both: Records) -> None:
    runs = Runs(both)
    run = runs.start(name="many")
    metrics = [MetricPoint(key=f"m{number}", value=number, at=0) for number in range(100)]
    runs.log_metrics(run_id=run.id, metrics=metrics)
    for last, there in ((99, [run.id]), (98, [])):
        terms = [f"metrics.m{number} = {number}" for number in range(99)] + [f"metrics.m99 = {last}"]
        keys = [f"metrics.m{number}" for number in range(MAX_ORDERS)]
        page = runs.search(experiments=[0], filter=" AND ".join(terms), order_by=keys)
        assert [found.id for found in page.runs] == there
    with pytest.raises(Invalid, match="21 keys"):
        runs.search(experiments=[0], order_by=[f"metrics.m{number}" for number in range(MAX_ORDERS + 1)])


@pytest.mark.parametrize(
    "token", ["LTE=", "OTk5OTk5OTk5OTk5OTk5OTk5OTk=", "MS41", "bnVsbA==", "?", "W10=", "A" * 3_000]
)
def test_a_token_that_was_never_given_is_refused(both: Records, token: str) -> None:
    with pytest.raises(Invalid):
        Runs(both).search(experiments=[0], page_token=token)
    with pytest.raises(Invalid):
        Experiments(both).search(page_token=token)


def test_NaN_is_unlike_every_number_and_neither_less_nor_more(both: Records) -> None:
    runs = Runs(both)
    run = runs.start(name="odd")
    runs.log_metrics(run_id=run.id, metrics=[MetricPoint(key="k", value="NaN", at=0)])
    for number in ("0", "1", "-1", "1e999"):
        for op in COMPARE:
            found = runs.search(experiments=[0], filter=f"metrics.k {op} {number}").runs
            assert [one.id for one in found] == ([run.id] if op == "!=" else []), (op, number)
