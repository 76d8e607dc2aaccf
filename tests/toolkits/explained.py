"""What `perennial models explain`, `card` and `verify` tell of a version of any toolkit, and what must hold of it.

Attributions and base add up to what the model answers, in the unit that they name; their columns are the model's; what
is sampled states an error, and another draw differs by no more than such errors allow.
"""

from __future__ import annotations

import html
import json
import math
from pathlib import Path
from typing import Any

import pytest

from ..endtoend.conftest import Project

Explained = list[dict[str, Any]]

FAR = 7.0  # standard errors: of some hundred columns in these tests none differs by so many


def assert_explained(
    project: Project, version: str, rows: list[dict[str, Any]], told: dict[str, Any], *, method: str, relative: float
) -> dict[str, Any]:
    """The model as a whole and each of the rows; the explanation that was recorded.

    Args:
        project: With the version in it.
        version: NAME@NUMBER.
        rows: What was asked.
        told: Answers of the toolkit's own model, "native"; the signature; explanations of a fresh process by the form
            that serves and from another seed, "explained".
        method: By which the model must be explained: "tree", "linear" or "sampled".
        relative: How far answers may be apart.
    """
    columns = {field["name"] for field in told["signature"]["columns"]}
    whole = project.done("models", "explain", version)
    assert whole["method"] == method, whole
    assert set(whole["mean_abs"]) == columns
    assert whole["rows"] > 0
    assert (whole["error"] is not None) == (method == "sampled")
    shuffled = [name for one in whole["importance"] for name in one["features"]]
    if shuffled:
        assert sorted(shuffled) == sorted(field["name"] for field in told["signature"]["inputs"] if is_used(field))
    else:  # as on a machine that is too busy for it
        assert any(said.startswith("permutation importance") for said in whole["left_out"])
    assert "average over" in project.perennial("models", "explain", version).out
    file = project.folder / "asked.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    single = project.done("models", "explain", version, "--rows", str(file))
    assert [one["row"] for one in single] == list(range(1, len(rows) + 1))
    for one in (*single, *told["explained"]):
        assert set(one["contributions"]) == columns
        assert one["base"] + sum(one["contributions"].values()) == pytest.approx(one["explained"])
    if single[0]["unit"] == "margin":
        single = softened(project, version, file, single, told["signature"]["classes"])
    for one, answer, other in zip(single, told["native"], told["explained"], strict=True):
        assert one["method"] == method, one
        assert_adds_up(one, answer, relative)
        assert_adds_up(other, answer, relative)
        assert (one["errors"] is not None) == (method == "sampled")
        if one["errors"] is not None and other["errors"] is not None:
            assert_near(one, other)
    return whole


def assert_carded(project: Project, version: str, whole: dict[str, Any], *, kind: str) -> None:
    """The card as JSON and as a page names what the version is and what was shown of it; every byte is as it was."""
    files = {form: project.folder / f"card.{form}" for form in ("json", "html")}
    for form, file in files.items():
        assert project.done("models", "card", version, "-o", str(file))["format"] == form
    card = json.loads(files["json"].read_text())
    assert card["package"]["kind"] == kind
    assert card["requirements"]
    assert all(one["passed"] for one in card["requirements"])
    assert card["environment"]["distributions"]
    assert card["explanation"] == {name: whole[name] for name in card["explanation"]}
    assert card["compilation"]["reason"]
    page = html.unescape(files["html"].read_text())
    assert card["name"] in page
    assert card["requirements"][0]["sentence"] in page
    assert next(iter(whole["mean_abs"])) in page
    assert "<script src" not in page
    found = project.done("models", "verify", version)
    assert (found["differences"], found["not_asked"]) == ([], None)


def assert_adds_up(one: dict[str, Any], answer: dict[str, Any], relative: float) -> None:
    """What is explained is what the model answered, seen through the unit."""

    def near(wanted: float) -> Any:
        return pytest.approx(wanted, rel=100 * relative, abs=100 * relative)  # a sum of hundreds of terms

    value, unit = one["explained"], one["unit"]
    assert str(one["prediction"]) == str(answer["prediction"]) or float(one["prediction"]) == near(answer["prediction"])
    if unit == "value":
        assert value == near(answer["prediction"])
    elif unit == "log":
        assert math.exp(value) == near(answer["prediction"])
    elif unit == "log-odds":
        assert 1.0 / (1.0 + math.exp(-value)) == near(answer["probabilities"][one["of"]])
    elif unit == "label":
        assert value == near(1.0 if str(answer["prediction"]) == one["of"] else 0.0)
    else:
        assert unit == "probability", one
        assert value == near(answer["probabilities"][one["of"]])


def assert_near(one: dict[str, Any], other: dict[str, Any]) -> None:
    """Two draws differ by what their errors allow."""
    size = max(abs(one["explained"]), abs(one["base"]), 1e-3)
    for name, value in one["contributions"].items():
        error = math.hypot(one["errors"][name], other["errors"][name])
        assert abs(value - other["contributions"][name]) <= FAR * error + 1e-5 * size, name


def softened(project: Project, version: str, file: Path, told: Explained, classes: list[Any]) -> Explained:
    """Margins as probabilities, for which those of all classes are asked."""
    scores: dict[str, list[float]] = {}
    for label in map(str, classes):
        about = project.done("models", "explain", version, "--rows", str(file), "--of", label)
        assert {(one["of"], one["unit"]) for one in about} == {(label, "margin")}
        scores[label] = [one["explained"] for one in about]
    made: Explained = []
    for row, one in enumerate(told):
        assert scores[one["of"]][row] == pytest.approx(one["explained"])
        total = sum(math.exp(own[row]) for own in scores.values())
        made.append({**one, "unit": "probability", "explained": math.exp(one["explained"]) / total})
    return made


def is_used(field: dict[str, Any]) -> bool:
    """Whether features or model see this column of a request."""
    return bool(field.get("required", True))
