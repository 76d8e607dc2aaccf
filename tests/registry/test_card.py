"""The card: everything recorded and nothing else, the same for the same facts, harmless whatever the facts hold."""

from __future__ import annotations

import base64
import hashlib
import json
import math
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml

from perennial.models.facts.evaluation import Curve, Slice
from perennial.models.facts.verdict import Verdict
from perennial.registry.card.cards import Cards
from perennial.registry.card.cyclonedx import cyclonedx
from perennial.registry.card.facts import Card
from perennial.registry.card.html import html, policy
from perennial.registry.card.markdown import markdown
from perennial.registry.versions import Models
from perennial.store.objects import ObjectStore

from .card_facts import EVALUATION, EXPLANATION, VERDICTS, estimate, package, registered

EVIL = "</td><script>alert(1)</script>\n---\n# [x](javascript:alert(1)) | \x1b \U0001f600 <img src=x onerror=1>"


@pytest.fixture
def objects(tmp_path: Path) -> Iterator[ObjectStore]:
    with ObjectStore(tmp_path / "objects") as objects:
        yield objects


@pytest.fixture
def cards(models: Models, objects: ObjectStore) -> Cards:
    return Cards(models, objects)


@pytest.fixture
def card(models: Models, objects: ObjectStore, cards: Cards) -> Card:
    registered(models, objects)
    models.describe(name="income", purpose="whom a survey asks again", owner="survey team", limits="not for credit")
    return cards.get(name="income")


class Page(HTMLParser):
    """What a page is made of."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.text: list[str] = []
        self.feed(text)
        self.says = " ".join(" ".join(self.text).split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def test_the_card_holds_what_was_recorded(card: Card) -> None:
    assert card.evaluation is not None
    assert card.evaluation.test == EVALUATION.test
    assert card.explanation == EXPLANATION
    assert card.requirements == VERDICTS
    assert card.package is not None
    assert (card.package.kind, card.package.saved_as, card.package.trained_rows) == ("sklearn", "skops", 39073)
    assert card.environment is not None
    assert (card.environment.python, card.environment.platform) == ("3.11.9", "Linux x86_64")
    assert card.environment.distributions == ["numpy==2.4.6", "scikit-learn==1.9.1"]
    assert (card.task, card.target, card.classes) == ("classification", "income", ["<=50K", ">50K"])
    assert card.compilation is not None
    assert card.compilation.timing is not None, "what was timed is in the evaluation, not in the package"
    assert card.said.purpose == "whom a survey asks again"


def test_what_nobody_has_said_or_measured_is_said_to_be_missing(models: Models, objects: ObjectStore) -> None:
    models.register(name="bare", package=package(objects), origin="imported")
    card = Cards(models, objects).get(name="bare")
    for sentence in (
        "Nobody has said what it is for.",
        "No dataset is recorded that it learned from.",
        "It was never evaluated here.",
        "Nothing was required of it.",
        "It was not explained.",
    ):
        assert sentence in card.missing
    says = Page(html(card)).says
    assert says.count("nobody has said") == 6
    assert "It was never evaluated here." in says
    assert "nobody has said" in markdown(card)


def test_a_version_of_a_client_without_a_package_has_a_card(models: Models, cards: Cards, model_versions: Any) -> None:
    from perennial.registry.registered import Registered

    Registered(models._records).create(name="theirs")  # pyright: ignore[reportPrivateUsage]
    model_versions.create(name="theirs", source="s3://bucket/model")
    card = cards.get(name="theirs")
    assert card.package is None
    assert "A client registered it; nobody here has looked at it." in Page(html(card)).says
    assert "s3://bucket/model" in html(card)


def test_stored_objects_that_are_gone_or_damaged_are_named_and_the_rest_is_shown(
    models: Models, objects: ObjectStore, cards: Cards
) -> None:
    models.register(name="gone", package="0" * 64, origin="loop", evaluation=objects.put(b"no JSON"), verdicts=VERDICTS)
    card = cards.get(name="gone")
    assert any(sentence.startswith("The package cannot be read") for sentence in card.missing)
    assert any(sentence.startswith("The evaluation cannot be read") for sentence in card.missing)
    assert VERDICTS[0].sentence in Page(html(card)).says


def test_an_evaluation_of_before_there_were_slices_has_a_card(
    models: Models, objects: ObjectStore, cards: Cards
) -> None:
    old = {"task": "regression", "metric": "rmse", "split": "the newest 20 of 100 rows", "saved_over_baseline": {}}
    old |= {part: {"rmse": {"value": 0.4, "low": None, "high": None, "rows": 20}} for part in ("test", "train")}
    old |= {"baseline": {}, "overfits": "the test loss is 1.9 times the training loss"}
    models.register(
        name="old", package=package(objects), origin="loop", evaluation=objects.put(json.dumps(old).encode())
    )
    says = Page(html(cards.get(name="old"))).says
    assert "too few rows for an interval" in says
    assert "It overfits: the test loss is 1.9 times the training loss" in says
    assert "Calibration was not measured." in says


def test_the_same_facts_make_the_same_card_in_every_form(models: Models, objects: ObjectStore, cards: Cards) -> None:
    registered(models, objects)
    for form in (html, markdown, cyclonedx, msgspec.json.encode):
        assert form(cards.get(name="income")) == form(cards.get(name="income"))
    before = html(cards.get(name="income"))
    models.describe(name="income", purpose="another")
    assert html(cards.get(name="income")) != before


def test_the_json_form_comes_back_as_the_same_card(card: Card) -> None:
    assert msgspec.json.decode(msgspec.json.encode(card), type=Card) == card


def test_C07_the_page_runs_nothing_and_loads_nothing(card: Card) -> None:
    text = html(card)
    page = Page(text)
    assert not {"script", "iframe", "object", "embed", "link", "img", "form", "base"} & set(page.tags)
    assert not [name for name, _ in page.attributes if name.startswith("on") or name in ("src", "href", "style")]
    assert "url(" not in text
    assert "@import" not in text
    style = re.search(r"<style>(.*?)</style>", text, re.DOTALL)
    assert style is not None
    sealed = base64.b64encode(hashlib.sha256(style[1].encode()).digest()).decode()
    assert policy() == f"default-src 'none'; style-src 'sha256-{sealed}'; base-uri 'none'; form-action 'none'"


def test_C07_text_from_the_records_stays_text_in_every_form(models: Models, objects: ObjectStore, cards: Cards) -> None:
    hostile = msgspec.structs.replace(
        EVALUATION,
        metric=EVIL,
        split=EVIL,
        test={EVIL: estimate(0.5)},
        says=[EVIL],
        slices=[
            Slice(where={EVIL: EVIL}, rows=3, value=estimate(0.5), rest=0.4, found_by=kind) for kind in ("column", "x")
        ],
        curves=[Curve(kind=EVIL, name=EVIL, x=[1.0, 2.0], y=[1.0, 2.0])],
        fairness=[],
    )
    verdict = Verdict(kind="x", sentence=EVIL, passed=False, says=EVIL, evidence={EVIL: EVIL, "t": [{EVIL: EVIL}]})
    registered(models, objects, evaluation=hostile, verdicts=[verdict], reason=EVIL)
    models.describe(name="income", purpose=EVIL, owner=EVIL, description=EVIL)
    models.set_tag(name="income", version=1, key="k", value=EVIL)
    card = cards.get(name="income")
    page = Page(html(card))
    assert not {"script", "img", "a"} & set(page.tags)
    assert page.says.count("alert(1)") > 10, "it is shown, as text"
    told = markdown(card)
    assert "<script" not in told
    assert "<img" not in told
    front, _, body = told.removeprefix("---\n").partition("\n---\n")
    assert yaml.safe_load(front)["metrics"] == [EVIL]
    assert "\n---\n" not in body
    assert "](javascript" not in body
    json.dumps(cyclonedx(card))


def test_numbers_that_are_none_are_left_out_of_charts_and_told(
    models: Models, objects: ObjectStore, cards: Cards
) -> None:
    odd = msgspec.structs.replace(
        EVALUATION,
        curves=[Curve(kind="training", name="loss", x=[1.0, 2.0, 3.0], y=[1e308, 1.0, 0.5], low=[0.0], high=None)],
        slices=[
            Slice(where={"a": "b"}, rows=1, value=estimate(0.0, None, 1), rest=None, found_by="column"),
            Slice(where={"a": "c"}, rows=1, value=estimate(0.0, None, 1), rest=None, found_by="column"),
        ],
    )
    registered(models, objects, evaluation=odd)
    text = html(cards.get(name="income"))
    assert "nan" not in re.sub(r"sha256-\S+", "", text)
    assert ">inf" not in text


def test_a_requirement_is_a_row_with_its_verdict_and_its_evidence(card: Card) -> None:
    says = Page(html(card)).says
    assert "women are chosen at least 0.8 times as often as men fails" in says
    assert "accuracy is at least 0.85 holds" in says
    assert "better than what is live does not apply" in says
    assert "group rows selection rate Female 3,269 0.081 Male 6,500 0.262" in says


def test_the_markdown_form_begins_as_hubs_read_it(card: Card) -> None:
    front = yaml.safe_load(markdown(card).removeprefix("---\n").partition("\n---\n")[0])
    assert front["model_name"] == "income"
    assert front["pipeline_tag"] == "tabular-classification"
    (entry,) = front["model-index"]
    (result,) = entry["results"]
    assert result["task"] == {"type": "tabular-classification"}
    assert {metric["type"]: metric["value"] for metric in result["metrics"]}["accuracy"] == 0.8712


def test_the_bill_of_materials_names_model_data_and_libraries(card: Card) -> None:
    bill = cyclonedx(card)
    assert (bill["bomFormat"], bill["specVersion"]) == ("CycloneDX", "1.6")
    model = bill["metadata"]["component"]
    assert model["type"] == "machine-learning-model"
    metrics = model["modelCard"]["quantitativeAnalysis"]["performanceMetrics"]
    assert {
        "type": "accuracy",
        "value": "0.8712",
        "confidenceInterval": {"lowerBound": "0.8646", "upperBound": "0.8778"},
    } in metrics
    assert {part["purl"] for part in bill["components"] if part["type"] == "library"} == {
        "pkg:pypi/numpy@2.4.6",
        "pkg:pypi/scikit-learn@1.9.1",
    }
    refs = [part["bom-ref"] for part in (model, *bill["components"])]
    assert sorted(refs) == sorted(entry["ref"] for entry in bill["dependencies"])
    assert re.fullmatch(
        r"urn:uuid:[0-9a-f]{8}-[0-9a-f]{4}-5[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}", bill["serialNumber"]
    )


def test_charts_show_each_group_with_its_interval_on_one_scale(card: Card) -> None:
    text = html(card)
    chart = re.search(r'<svg role="img" aria-label="accuracy by sex".*?</svg>', text, re.DOTALL)
    assert chart is not None
    dots = [float(x) for x in re.findall(r'class="dot" cx="([\d.]+)"', chart[0])]
    ends = [(float(a), float(b)) for a, b in re.findall(r'class="interval" x1="([\d.]+)" x2="([\d.]+)"', chart[0])]
    assert len(dots) == len(ends) == 2
    per_unit = (dots[0] - dots[1]) / (0.925 - 0.842)
    for dot, (left, right), half in zip(dots, ends, (0.008, 0.009), strict=True):
        assert math.isclose(dot - left, half * per_unit, abs_tol=0.2)
        assert math.isclose(right - dot, half * per_unit, abs_tol=0.2)
