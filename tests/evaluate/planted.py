"""Faults drawn by seed and planted in real data, each with a clean twin that differs in nothing but the fault.

A gate *misses* a fault that it lets pass, and *refuses falsely* a twin that it does not. Every draw is settled by its
seed: the data set, the fault, its place and its size.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from perennial.errors import Refused
from perennial.evaluate.answers import Answers, HeldOut, codes_of
from perennial.evaluate.requirements import Case, check_requirements
from perennial.loop import require
from perennial.loop.declaration import Requirement
from perennial.registry.test_sets import PLANNED, JudgedOn
from perennial.registry.versions import Models

__all__ = ["Data", "Draw", "Outcome", "leak", "margin", "memorised", "subgroup"]

LEAK_ROWS = 5000
GROUP_ROWS = 4000
TRIES, TEST_ROWS = 300, 2000
ACCURACY_MARGIN, RMSE_MARGIN = 0.02, 0.02  # a share of rows; of the live version's error

Random = np.random.Generator


@dataclass(frozen=True)
class Outcome:
    """What became of a fault and of its twin, and what the fault was."""

    missed: bool
    refused: bool
    fault: str


Draw = Callable[["Data", int], Outcome]


@dataclass(frozen=True)
class Data:
    """Real rows, with the answers of models that were fitted to others of them."""

    adult: pl.DataFrame
    wages: pl.DataFrame
    adult_held: pl.DataFrame
    hits: np.ndarray
    wages_held: pl.DataFrame
    residuals: np.ndarray

    @classmethod
    def load(cls, folder: Path) -> Data:
        from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

        adult, held = (pl.read_csv(folder / "adult_census" / f"adult_{part}.csv.gz") for part in ("train", "test"))
        held = held.with_columns(pl.col("income").str.strip_chars("."))
        wages = pl.read_csv(folder / "cps_wages" / "cps1988.csv.gz").drop("rownames")
        order = np.random.default_rng(0).permutation(len(wages))
        seen, rest = wages[order[:18_000]], wages[order[18_000:]]
        classifier = HistGradientBoostingClassifier(max_iter=60, random_state=0)
        classifier.fit(_coded(adult, adult, "income"), adult["income"].to_numpy())
        hits = classifier.predict(_coded(held, adult, "income")) == held["income"].to_numpy()
        regressor = HistGradientBoostingRegressor(max_iter=60, random_state=0)
        regressor.fit(_coded(seen, seen, "wage"), np.log(seen["wage"].to_numpy()))
        residuals = regressor.predict(_coded(rest, seen, "wage")) - np.log(rest["wage"].to_numpy())
        return cls(adult, wages, held, hits, rest, residuals)


def leak(data: Data, seed: int) -> Outcome:
    """(a) What gives the target away, for `require.no_leakage`."""
    random = np.random.default_rng(seed)
    is_numbers = bool(random.integers(2))
    frame, target = (data.wages, "wage") if is_numbers else (data.adult, "income")
    frame = frame[random.permutation(len(frame))[:LEAK_ROWS]]
    if is_numbers:
        frame = frame.with_columns(pl.col("wage").log())
    task = "regression" if is_numbers else "classification"
    y = frame[target].to_numpy() if is_numbers else (frame[target] == ">50K").to_numpy().astype(float)
    cut = LEAK_ROWS * 4 // 5
    kind = str(random.choice(["afterwards", "means", "rows", "id", "parts", "later"]))
    leaking, clean = frame, frame
    time = None
    if kind == "rows":
        copied = random.choice(LEAK_ROWS - cut, size=int(random.uniform(0.05, 0.3) * (LEAK_ROWS - cut)), replace=False)
        order = np.arange(LEAK_ROWS)
        order[cut + copied] = random.choice(cut, size=len(copied), replace=False)
        leaking = frame[order]
        fault = f"{len(copied)} of {LEAK_ROWS - cut} held-out rows are training rows"
    elif kind == "later":
        at = pl.Series("at", np.sort(random.integers(0, 10**9, LEAK_ROWS))).cast(pl.Duration("ms")) + pl.datetime(
            2020, 1, 1
        )
        frame = frame.with_columns(pl.select(at).to_series().alias("at"))
        share = random.uniform(0.05, 1)
        after = random.random(LEAK_ROWS) < share
        days = random.integers(1, 60, LEAK_ROWS)
        leaking = frame.with_columns(
            (pl.col("at") + pl.duration(days=pl.Series(np.where(after, days, -days)))).alias("closed")
        )
        clean = frame.with_columns((pl.col("at") - pl.duration(days=pl.Series(days))).alias("closed"))
        time = "at"
        fault = f"a column of moments of which {share * 100:.0f} % come later"
    else:
        columns, fault = _telling(kind, random, y, is_numbers)
        shuffled = random.permutation(LEAK_ROWS)
        leaking = frame.with_columns([pl.Series(name, values) for name, values in columns.items()])
        clean = frame.with_columns([pl.Series(name, values[shuffled]) for name, values in columns.items()])
    missed = _search(leaking, target, task, cut, time) is not False
    refused = _search(clean, target, task, cut, time) is False
    return Outcome(missed, refused, f"{target}: {fault}")


def subgroup(data: Data, seed: int) -> Outcome:
    """(b) One group of rows in which the model is worse by more than a tenth, for `require.slices`.

    The twin has the real model's errors, dealt out to the rows at random: no group is worse but by chance.
    """
    random = np.random.default_rng(seed)
    if random.integers(2):
        rows = random.permutation(len(data.adult_held))[:GROUP_ROWS]
        frame, hits = data.adult_held[rows], random.permutation(data.hits[rows])
        by = str(random.choice(["occupation", "education", "race", "relationship", "workclass", "native_country"]))
        group, members = _group(frame, by, random)
        overall = hits.mean()
        worse = random.uniform(0.15, 0.4)  # of the overall accuracy
        broken = hits & ~(members & (random.random(GROUP_ROWS) < worse))
        truth = (frame["income"] == ">50K").to_numpy().astype(np.int64)
        asked = require.slices("accuracy", by=by, within=0.1)
        passed = [_check(asked, _voted(frame, truth, ok)) for ok in (broken, hits)]
        size = f"accuracy lower by {worse * 100:.0f} % of {overall:.2f}"
    else:
        rows = random.permutation(len(data.wages_held))[:GROUP_ROWS]
        frame, residuals = data.wages_held[rows], random.permutation(data.residuals[rows])
        by = str(random.choice(["region", "ethnicity", "smsa", "parttime", "education"]))
        group, members = _group(frame, by, random)
        worse = random.uniform(0.3, 1.0)  # of the overall error
        noise = residuals * np.where(members, 1 + worse, 1.0)
        truth = np.log(frame["wage"].to_numpy())
        asked = require.slices("rmse", by=by, within=0.1)
        passed = [_check(asked, _numbers(frame, truth, off)) for off in (noise, residuals)]
        size = f"rmse higher by {worse * 100:.0f} %"
    return Outcome(passed[0] is not False, passed[1] is False, f"{by} {group} ({int(members.sum())} rows): {size}")


def margin(data: Data, seed: int) -> Outcome:
    """(c) A candidate that is worse by more than the margin, for `require.not_worse_than_live`; its twin by less."""
    random = np.random.default_rng(seed)
    more, less = random.uniform(1.5, 3), random.uniform(0, 0.3)
    if random.integers(2):
        frame, live = data.adult_held, data.hits
        truth = (frame["income"] == ">50K").to_numpy().astype(np.int64)
        asked = require.not_worse_than_live("accuracy", margin=ACCURACY_MARGIN)
        cases = [
            _voted(frame, truth, _worse(live, times * ACCURACY_MARGIN, random), live=live) for times in (more, less)
        ]
        metric = "accuracy"
    else:
        frame, live = data.wages_held, data.residuals
        truth = np.log(frame["wage"].to_numpy())
        rmse = float(np.sqrt(np.mean(live**2)))
        asked = require.not_worse_than_live("rmse", margin=RMSE_MARGIN * rmse)
        cases = [_numbers(frame, truth, _off(live, times * RMSE_MARGIN, random), live=live) for times in (more, less)]
        metric = "rmse"
    passed = [_check(asked, case) for case in cases]
    return Outcome(
        passed[0] is True, passed[1] is not True, f"{metric} worse by {more:.1f} margins; its twin by {less:.1f}"
    )


def memorised(models: Models, tries: int, seed: int, *, weighted: bool = False) -> Outcome:
    """(d) Labels guessed from the results of so many random tries, for the ledger; see `attack`.

    The twin is an honest model, wrong in one to three rows of ten, judged after as many tries (but within a hundred).
    """
    truth, guess, losses = attack(tries, seed, weighted=weighted)

    def register(name: str, loss: float, answers: np.ndarray | None = None) -> int:
        lead, error = (None, None) if answers is None else _lead(truth, answers)
        on = JudgedOn(
            test_set=f"{name:>64}",
            rows=TEST_ROWS,
            sample="",
            loss=loss,
            loss_name="share of wrong labels",
            lead=lead,
            lead_error=error,
        )
        return models.register(name=name, package="f" * 64, origin="loop", judged_on=on).version

    def passes(name: str, version: int) -> bool:
        try:
            return models.approve(name=name, version=version).state == "approved"
        except Refused:
            return False

    random = np.random.default_rng(seed + 1000)
    honest = np.where(random.random(TEST_ROWS) < random.uniform(0.1, 0.3), 1 - truth, truth)
    for loss in losses[: PLANNED - 1]:
        register(f"honest-{seed}", loss)
    twin = register(f"honest-{seed}", float((honest != truth).mean()), honest)
    for loss in losses:
        register(f"lucky-{seed}", loss)
    measured = float((guess != truth).mean())
    attacker = register(f"lucky-{seed}", measured, guess)
    fault = f"{tries} tries: measured accuracy {1 - measured:.3f} of coin tosses"
    return Outcome(passes(f"lucky-{seed}", attacker), not passes(f"honest-{seed}", twin), fault)


def attack(tries: int, seed: int, *, weighted: bool = False) -> tuple[np.ndarray, np.ndarray, list[float]]:
    """Truth, the majority vote of random answers of which each measured better than a coin, and what each measured.

    `weighted`: all vote, each with the weight of what it measured above a coin, which makes more of each look.

    Source: Blum & Hardt (2015), The Ladder, section 4.
    """
    random = np.random.default_rng(seed)
    truth = random.integers(2, size=TEST_ROWS)
    votes = np.zeros(TEST_ROWS)
    losses: list[float] = []
    for _ in range(tries):
        answers = random.integers(2, size=TEST_ROWS)
        loss = float((answers != truth).mean())
        losses.append(loss)
        if weighted:
            votes += (0.5 - loss) * (2 * answers - 1)
        elif loss < 0.5:
            votes += 2 * answers - 1
    return truth, (votes > 0).astype(np.int64), losses


def _lead(truth: np.ndarray, answers: np.ndarray) -> tuple[float, float]:
    """How much more accurate than always the most frequent label, and the standard error of that."""
    gained = (answers == truth).astype(float) - (truth == int(truth.mean() > 0.5))
    return float(gained.mean()), float(gained.std() / np.sqrt(len(truth)))


def _telling(kind: str, random: Random, y: np.ndarray, is_numbers: bool) -> tuple[dict[str, np.ndarray], str]:
    """Columns that tell the target, and what they are."""
    spread = float(np.std(y))
    if kind == "means":
        group = random.integers(0, int(random.integers(20, 400)), len(y))
        means = np.bincount(group, y) / np.maximum(np.bincount(group), 1)
        return {"group_mean": means[group]}, f"means of the target in {group.max() + 1} groups of chance"
    if kind == "id":
        noise = random.uniform(0, 0.5)
        return {"id": np.argsort(np.argsort(y + noise * spread * random.normal(size=len(y))))}, (
            f"rows numbered in the order of the target, noise {noise:.2f}"
        )
    if kind == "parts" and is_numbers:
        part = random.normal(size=len(y)) * spread * random.uniform(0.5, 3)
        return {"part": part, "rest": y - part}, "two parts of the target"
    if kind == "parts":
        amount = np.where(y > 0, random.exponential(100, len(y)) + 1, 0.0)
        late = random.random(len(y)) < random.uniform(0, 0.03)
        return {
            "amount": np.where(late, 0.0, amount)
        }, f"an amount that is paid to one class only, {late.mean():.2f} not yet"
    noise = random.uniform(0, 0.6) if is_numbers else random.uniform(0, 0.05)
    if is_numbers:
        return {"afterwards": np.exp(y + noise * spread * random.normal(size=len(y)))}, f"a copy with noise {noise:.2f}"
    flipped = random.random(len(y)) < noise
    return {"afterwards": np.where(flipped, 1 - y, y)}, f"a copy of the label, {noise * 100:.1f} % wrong"


def _search(frame: pl.DataFrame, target: str, task: str, cut: int, time: str | None) -> bool | None:
    train, test = frame[:cut], frame[cut:]
    on = [_truth(part[target], task) for part in (train, test)]
    case = Case(
        task=task,
        frame=test.drop(target),
        train_frame=train.drop(target),
        inputs=[name for name in frame.columns if name not in {target, time}],
        train=on[0],
        held_out=on[1],
        answer=lambda _: on[1].answers,
        time=time,
    )
    return _check(require.no_leakage(), case)


def _truth(values: pl.Series, task: str) -> HeldOut:
    if task == "regression":
        truth = values.to_numpy()
        return HeldOut(truth=truth, answers=Answers(prediction=truth))
    codes, classes = codes_of(values)
    return HeldOut(truth=codes, answers=Answers(prediction=codes, classes=classes))


def _check(asked: Requirement, case: Case) -> bool | None:
    (found,) = check_requirements([asked], case)
    return found.passed


def _group(frame: pl.DataFrame, by: str, random: Random) -> tuple[str, np.ndarray]:
    """A group of at least 60 rows and at most half of them."""
    counted = frame[by].cast(pl.String).value_counts().sort(by)
    usable = counted.filter((pl.col("count") >= 60) & (pl.col("count") <= len(frame) // 2))[by].to_list()
    group = str(random.choice(usable))
    return group, (frame[by].cast(pl.String) == group).to_numpy()


def _voted(frame: pl.DataFrame, truth: np.ndarray, hits: np.ndarray, live: np.ndarray | None = None) -> Case:
    """Two classes, answered rightly where `hits`."""

    def answered(right: np.ndarray) -> Answers:
        return Answers(prediction=np.where(right, truth, 1 - truth), classes=("no", "yes"), positive=1)

    return _case(
        "classification", frame, HeldOut(truth=truth, answers=answered(hits)), None if live is None else answered(live)
    )


def _numbers(frame: pl.DataFrame, truth: np.ndarray, off: np.ndarray, live: np.ndarray | None = None) -> Case:
    on = HeldOut(truth=truth, answers=Answers(prediction=truth + off))
    return _case("regression", frame, on, None if live is None else Answers(prediction=truth + live))


def _case(task: str, frame: pl.DataFrame, on: HeldOut, live: Answers | None) -> Case:
    told: dict[str, Any] = {}
    if live is not None:
        told = {"live_version": 1, "live": live, "fresh": np.ones(len(frame), dtype=bool)}
    return Case(task=task, frame=frame, held_out=on, train=on, answer=lambda _: on.answers, **told)


def _worse(hits: np.ndarray, by: float, random: Random) -> np.ndarray:
    """Other answers to a tenth of the rows, so that the accuracy to expect is lower by `by`."""
    lost = random.random(len(hits)) < (0.05 + by / 2) / hits.mean()
    won = random.random(len(hits)) < (0.05 - by / 2) / (1 - hits.mean())
    return np.where(hits, ~lost, won)


def _off(residuals: np.ndarray, by: float, random: Random) -> np.ndarray:
    """Residuals of another model, whose root mean square to expect is larger by the share `by`."""
    spread = float(np.sqrt(np.mean(residuals**2)))
    shrunk = residuals * 0.98
    extra = (1 + by) ** 2 - 0.98**2
    return shrunk + random.normal(scale=spread * np.sqrt(extra), size=len(residuals))


def _coded(frame: pl.DataFrame, seen: pl.DataFrame, target: str) -> np.ndarray:
    """Numbers as they are, texts by their place among those of the training rows."""
    columns: list[np.ndarray] = []
    for name in seen.columns:
        if name == target:
            continue
        if seen[name].dtype.is_numeric():
            columns.append(frame[name].cast(pl.Float64).fill_null(float("nan")).to_numpy())
            continue
        names = {value: float(at) for at, value in enumerate(seen[name].drop_nulls().unique().sort().to_list())}
        columns.append(np.array([names.get(value, -1.0) for value in frame[name].to_list()]))
    return np.column_stack(columns)
