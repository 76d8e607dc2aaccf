"""A loop file's mistakes are found where they are written, and its declaration is data."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from perennial.errors import Invalid, LoopError
from perennial.evaluate.metrics import METRICS as COMPUTED
from perennial.loop import Loop, require, retrain, rollout
from perennial.loop.declaration import Declaration
from perennial.loop.graph import Wiring, bind_params, check
from perennial.loop.require import METRICS


def declared(source: str, folder: Path) -> Declaration:
    """The declaration of a loop that starts with these lines, as file loop.py."""
    head = "from perennial import Loop, require, retrain, rollout\n"
    space: dict[str, Any] = {"__name__": "loop"}
    exec(compile(head + source, str(folder / "loop.py"), "exec"), space)
    return space["loop"].declaration()


STEPS = """loop = Loop("salary", target="wage")
@loop.collect
def survey(): ...
@loop.train
def model(X, y, *, depth: int = 3, rate=0.1, shape=(1, 2)): ...
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_functions_come_back_unchanged() -> None:
    loop = Loop("x")

    def plain() -> int:
        return 1

    plain.__qualname__ = "plain"
    assert loop.collect(plain) is plain
    assert plain() == 1
    assert vars(plain) == {}


def test_a_declaration_survives_json(folder: Path) -> None:
    more = """
loop.require(require.metric("rmse", at_most=0.5), require.slices("rmse", by="occupation", within=0.1))
loop.rollout(rollout.shadow(max_time="2d"), rollout.canary(0.05))
loop.retrain(retrain.on_performance_drop(), retrain.every("30d"), retrain.by_hand(), approval="automatic")
"""
    declaration = declared(STEPS + more, folder)
    assert Declaration.from_json(json.loads(json.dumps(declaration.to_json()))) == declaration
    assert [trigger.kind for trigger in declaration.retrain.triggers] == ["performance_drop", "schedule"]
    assert declaration.step("model").params == {"depth": 3, "rate": 0.1, "shape": [1, 2]}
    assert declaration.step("survey").variable == "loop"
    assert declaration.step("survey").where == "loop.py:3"
    assert declaration.stages[0].options["max_time_s"] == 172_800.0


def test_steps_run_in_an_order_that_fits(folder: Path) -> None:
    source = """loop = Loop("salary", target="wage")
@loop.train
def model(X, y, *, n: int = 1): ...
@loop.features
def features(joined): ...
@loop.step
def joined(prices, survey): ...
@loop.collect
def survey(): ...
@loop.collect
def prices(): ...
@loop.step
def report(joined): ...
"""
    wiring = check(declared(source, folder))
    assert wiring == Wiring(
        order=("survey", "prices", "joined", "features", "report", "model"),
        collects=("survey", "prices"),
        table="joined",
        features="features",
        train="model",
    )


HEAD = 'loop = Loop("salary", target="wage")\n'
COLLECT = "@loop.collect\ndef survey(): ...\n"
TRAIN = "@loop.train\ndef model(X, y): ...\n"
GOOD = HEAD + COLLECT + TRAIN
RANKED = 'loop = Loop("a", target="w", task="classification")\nloop.require(require.better_than_live("rmse"))\n'


@pytest.mark.parametrize(
    "source, what, line, remedy",
    [
        (GOOD + "@loop.features\ndef f(surey): ...\n", "takes 'surey', and no step", 7, "did you mean 'survey'?"),
        (GOOD + "@loop.step\ndef s(X): ...\n", "takes 'X', and no step", 7, "for train only"),
        (
            HEAD + COLLECT + "@loop.train\ndef model(X, y, depth): ...\n",
            "takes 'depth'",
            5,
            "a parameter needs a default",
        ),
        (HEAD + TRAIN, "no step that fetches its data", 2, "@loop.collect"),
        (HEAD + COLLECT, "no step that fits its model", 2, "@loop.train"),
        (GOOD + TRAIN.replace("model", "m2"), "two train steps, 'model' and 'm2'", 7, "loop.py:5"),
        (HEAD + COLLECT + "@loop.train\ndef model(y): ...\n", "takes no X", 5, "def model(X, y)"),
        ('loop = Loop("salary")\n' + COLLECT + TRAIN, "names no target", 2, "target="),
        (GOOD + "@loop.features\ndef f(survey, g): ...\n@loop.step\ndef g(): ...\n", "takes 2 tables", 7, "join"),
        (GOOD + "@loop.step\ndef a(b): ...\n@loop.step\ndef b(a): ...\n", "in a circle: a -> b -> a", 7, "take one"),
        (GOOD + "@loop.step\ndef s(model): ...\n", "which comes later", 7, "@loop.step"),
        (HEAD + COLLECT + COLLECT.replace("survey", "other") + TRAIN, "not clear which table", 7, "@loop.features"),
        (GOOD + "@loop.step\ndef y(survey): ...\n", "cannot be named 'y'", 7, "rename"),
        (RANKED + COLLECT + TRAIN, "rmse is not a metric of classification", 2, "accuracy"),
    ],
)
def test_steps_that_do_not_fit_are_told_with_line_and_remedy(
    folder: Path, source: str, what: str, line: int, remedy: str
) -> None:
    with pytest.raises(LoopError) as caught:
        check(declared(source, folder))
    assert what in caught.value.what
    assert caught.value.where == f"loop.py:{line}"
    assert remedy in caught.value.remedy


@pytest.mark.parametrize(
    "source, what, line",
    [
        ('loop = Loop("a b")', "cannot be the name of a loop", 2),
        ('loop = Loop("a", label_delay="soon")', "label_delay cannot be 'soon'", 2),
        ('loop = Loop("a", task="ranking")', "task cannot be 'ranking'", 2),
        (HEAD + COLLECT + COLLECT, "two steps are named 'survey'", 5),
        (HEAD + "@loop.collect\ndef f(*, a): ...", "parameter 'a' of 'f' has no default", 3),
        (HEAD + "@loop.collect\ndef f(*, a=print): ...", "which JSON cannot write", 3),
        (HEAD + "@loop.collect\ndef f(*, a=float('nan')): ...", "which JSON cannot write", 3),
        (HEAD + "@loop.collect\nasync def f(): ...", "async or a generator", 3),
        (HEAD + "@loop.collect\ndef f(): yield", "async or a generator", 3),
        (HEAD + "loop.step(lambda survey: 1)", "not a function at the top", 3),
        (HEAD + "def outer():\n    @loop.step\n    def inner(): ...\nouter()", "not a function at the top", 4),
        (HEAD + "@loop.step\nclass A: ...", "marks a function", 3),
        (HEAD + "loop.collect(secrets='DB_URL')", "secrets cannot be", 3),
        (HEAD + "loop.require(require.latency)", "not latency", 3),
        (HEAD + "loop.require(rollout.shadow())", "loop.require takes what require.* returns", 3),
        (HEAD + "\nloop.rollout(\n    rollout.canary(5),\n)", "share cannot be 5", 5),
        (HEAD + "loop.rollout(rollout.canary(0.05, at_max_time='promot'))", "at_max_time cannot be 'promot'", 3),
        (HEAD + "loop.rollout(rollout.shadow())\nloop.rollout(rollout.shadow())", "called twice", 4),
        (HEAD + "loop.retrain(retrain.every(30))", "every cannot be 30", 3),
        (HEAD + "loop.retrain(retrain.never(), retrain.every('1d'))", "told never, and when", 3),
        (HEAD + "loop.retrain(approval='auto')", "approval cannot be 'auto'", 3),
        (HEAD + "require.metric('rsme', at_most=1)", "metric cannot be 'rsme'", 3),
        (HEAD + "require.metric('rmse')", "needs one bound", 3),
        (HEAD + "require.latency(p99_ms=True)", "p99_ms cannot be True", 3),
        (HEAD + "require.monotone('x', increasing=1)", "increasing cannot be 1", 3),
        (HEAD + "require.metric('rmse', at_most=float('inf'))", "at_most cannot be inf", 3),
    ],
)
def test_a_wrong_option_is_told_on_the_line_of_its_call(folder: Path, source: str, what: str, line: int) -> None:
    with pytest.raises(LoopError) as caught:
        declared(source, folder)
    assert what in caught.value.what
    assert caught.value.where == f"loop.py:{line}"
    assert caught.value.remedy


def test_a_decorated_step_is_found_by_its_own_name_and_line(folder: Path) -> None:
    source = """import functools
def timed(f):
    @functools.wraps(f)
    def inner(*args): return f(*args)
    return inner
loop = Loop("salary", target="wage")
@loop.collect
@timed
def survey(*, limit=1): ...
"""
    (step,) = declared(source, folder).steps
    assert (step.name, step.line, step.params) == ("survey", 8, {"limit": 1})


def test_parameters_are_bound_by_name_and_checked(folder: Path) -> None:
    declaration = declared(STEPS, folder)
    assert bind_params(declaration, {})["model"] == {"depth": 3, "rate": 0.1, "shape": [1, 2]}
    assert bind_params(declaration, {"depth": 5, "model.rate": 1})["model"] == {"depth": 5, "rate": 1, "shape": [1, 2]}
    with pytest.raises(Invalid, match="did you mean 'depth'"):
        bind_params(declaration, {"dpth": 5})
    for value in ("5", 5.0, True, [5]):
        with pytest.raises(Invalid, match="give a value like its default, 3"):
            bind_params(declaration, {"depth": value})


def test_every_declared_metric_can_be_computed() -> None:
    assert {metric.name: metric.task for metric in COMPUTED} == dict(METRICS)


def test_every_requirement_has_a_sentence() -> None:
    slices = require.slices("rmse", by="job", within=0.07)
    assert slices.sentence == "rmse in each job is within 7 % of the overall value"
    better = require.better_than_live("rmse", margin=0.1)
    assert better.sentence == "rmse is better than the live version's by more than 0.1"
    assert rollout.canary(0.25).options["share"] == 0.25
    assert retrain.on_shift().options == {"tolerance": 0.05, "min_rows": 500}


def test_declaring_needs_only_the_standard_library() -> None:
    script = (
        "import sys; before = set(sys.modules); import perennial.loop, perennial.loop.graph, perennial.loop.slicing\n"
        "new = {name.partition('.')[0] for name in set(sys.modules) - before} - set(sys.stdlib_module_names)\n"
        "assert new == {'perennial'}, new"
    )
    subprocess.run([sys.executable, "-c", script], check=True)
