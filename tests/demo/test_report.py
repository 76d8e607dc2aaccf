"""The demo's report: complete in one file, and what it says is what the facts say.

The facts are computed here from the world with the salary template's own functions: three policies live through the
years, a plain rule (mean error of the newest 135 labels) raises the alarm, shifts are tested as the monitor tests them.
"""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Callable, Iterator
from datetime import date, timedelta
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from types import ModuleType

import msgspec
import numpy as np
import polars as pl
import pytest

import perennial
from perennial import stats
from perennial.data.frames import to_arrow
from perennial.demo.facts import (
    Command,
    Facts,
    Gate,
    Mark,
    Moment,
    Period,
    Policy,
    ShiftCell,
    StageSpan,
    VersionFacts,
)
from perennial.demo.report import render
from perennial.demo.world import TARGET, World
from perennial.models.preparation import learn

SEED = 7
FEATURES = ("education", "experience", "hours", "occupation", "union", "married", "black", "hispanic")
STAGES = (("shadow", 0.0, 3), ("canary", 0.05, 1), ("canary", 0.25, 1), ("canary", 0.5, 1))
BIAS_ALARM = 0.12

Model = Callable[[pl.DataFrame], np.ndarray]


def template() -> ModuleType:
    path = Path(perennial.__file__).parent / "templates" / "salary" / "loop.py"
    spec = importlib.util.spec_from_file_location("salary_loop", path)
    assert spec is not None
    assert spec.loader is not None
    found = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(found)
    return found


class Life:
    """A small life of the model: enough of it that the report has everything to show."""

    def __init__(self, world: World) -> None:
        self.world, self.loop = world, template()
        self.months = world.months()
        self.known = world.first_rows()
        first = self.fit(self.known)
        self.versions: list[tuple[Model, date, int]] = [(first, self.months[0], self.known.height)]
        self.live = 1
        self.rollout: tuple[int, int] | None = None  # version, month index at which it began
        self.marks = [Mark(at=self.months[0].isoformat(), kind="live", version=1)]
        self.spans: list[StageSpan] = []
        self.timeline: list[Moment] = []
        self.live_since = self.months[0]
        self.answers: dict[str, list[np.ndarray]] = {"never": [], "loop": [], "yearly": []}
        self.yearly, self.yearly_trainings = first, 1

    def fit(self, rows: pl.DataFrame) -> Model:
        preparation = learn(to_arrow(rows), target=TARGET, function=self.loop.features, key="person", time="date")
        model = self.loop.model(preparation.x(rows.drop(TARGET)), rows[TARGET].to_numpy())
        return lambda asked: model.predict(preparation.x(asked))

    def through(self) -> None:
        for index, month in enumerate(self.months):
            if month.month == 1 and index:
                self.yearly = self.fit(self.known)
                self.yearly_trainings += 1
            asked = self.world.asked(month)
            self.answers["never"].append(self.versions[0][0](asked))
            self.answers["loop"].append(self.versions[self.live - 1][0](asked))
            self.answers["yearly"].append(self.yearly(asked))
            self.known = pl.concat([self.known, self.world.answers(month)])
            self.decide(index, following(month))
        self.spans.append(span(self.live, "live", 0.0, self.live_since, None, "live", "since the last canary"))

    def decide(self, index: int, now: date) -> None:
        if self.rollout is not None:
            version, began = self.rollout
            ends = np.cumsum([length for *_, length in STAGES]).tolist()
            if index - began in ends:
                stage, share, length = STAGES[ends.index(index - began)]
                start = following(self.months[index - length])
                self.spans.append(span(version, stage, share, start, now, "next", "no guard fired"))
            if index - began == ends[-1]:
                self.spans.append(span(self.live, "live", 0.0, self.live_since, now, "live", f"until v{version}"))
                self.live, self.live_since, self.rollout = version, now, None
                self.marks.append(Mark(at=now.isoformat(), kind="live", version=version))
                self.tell(now, "live", f"version {version} is live", {"stages passed": len(STAGES)})
            return
        recent = self.known.tail(135)
        bias = (
            float((recent[TARGET].to_numpy() - np.concatenate(self.answers["loop"])[-135:]).mean()) if index > 2 else 0
        )
        if index > 2 and bias > BIAS_ALARM and now > self.live_since + timedelta(days=120):
            version = len(self.versions) + 1
            self.versions.append((self.fit(self.known), now, self.known.height))
            self.marks += [
                Mark(at=now.isoformat(), kind="alarm", version=self.live),
                Mark(at=now.isoformat(), kind="trained", version=version),
            ]
            says = f"version {self.live} answers too low: by {bias:.3f} on the newest labels"
            self.tell(now, "performance drop", says, {"bias": bias, "tolerance": BIAS_ALARM, "labels": 135})
            self.tell(now, "trained", f"version {version} is trained", {"rows": self.known.height})
            self.rollout = (version, index)

    def tell(self, now: date, what: str, says: str, numbers: dict[str, float | int | str]) -> None:
        self.timeline.append(Moment(at=now.isoformat(), what=what, says=says, numbers=numbers))

    def facts(self) -> Facts:
        lived = pl.concat([self.world.answers(month) for month in self.months])
        truth, year = lived[TARGET].to_numpy(), lived["date"].dt.year().to_numpy()
        years = sorted({int(value) for value in year})
        trainings = {"never": 1, "loop": len(self.versions), "yearly": self.yearly_trainings}
        policies, periods = [], []
        for name, parts in self.answers.items():
            prediction = np.concatenate(parts)
            residual = truth - prediction
            last = residual[year == years[-1]]
            policies.append(
                Policy(
                    policy=name,
                    trainings=trainings[name],
                    rmse=rms(residual),
                    rmse_last_year=rms(last),
                    bias_last_year=float(last.mean()),
                )
            )
            for start in self.months[::3]:
                end = following(following(following(start)))
                rows = lived["date"].is_between(start, end, closed="left").to_numpy()
                found = (
                    stats.bootstrap_interval(residual[rows] ** 2, stats.root_mean, seed=0) if name == "loop" else None
                )
                periods.append(
                    Period(
                        policy=name,
                        start=start.isoformat(),
                        end=end.isoformat(),
                        rows=int(rows.sum()),
                        rmse=rms(residual[rows]),
                        low=found and found.low,
                        high=found and found.high,
                        truth=float(truth[rows].mean()),
                        prediction=float(prediction[rows].mean()),
                    )
                )
        return Facts(
            title="Years of wages",
            target="log wage",
            world="Real answers of real people, asked month by month; a wage is known a month later.",
            seed=SEED,
            years=[years[0] - 2, years[0] - 1, *years],
            began=self.months[0].isoformat(),
            ended=following(self.months[-1]).isoformat(),
            tolerance=0.05,
            policies=policies,
            periods=periods,
            marks=self.marks,
            shifts=list(self.shifts(lived, years)),
            rollouts=sorted(self.spans, key=lambda one: (one.version, one.start)),
            versions=[
                VersionFacts(
                    version=number,
                    trained_until=until.isoformat(),
                    rows=rows,
                    state="live" if number == self.live else "retired" if number < self.live else "in rollout",
                    gates=[
                        Gate(
                            sentence="rmse is better than the live version's",
                            passed=None if number == 1 else True,
                            says="there is no live version to compare with" if number == 1 else "better on 311 rows",
                        ),
                        Gate(sentence="the prediction only rises with education", passed=True, says="for all 100 rows"),
                    ],
                )
                for number, (_, until, rows) in enumerate(self.versions, 1)
            ],
            timeline=self.timeline,
            commands=[
                Command(command="perennial log --project salary", says="what was found and decided, and why"),
                Command(command="perennial up", says="the same on pages, and the service again"),
            ],
        )

    def shifts(self, lived: pl.DataFrame, years: list[int]) -> Iterator[ShiftCell]:
        for year in years:
            start = date(year, 1, 1)
            version = max(one.version for one in self.spans if one.stage == "live" and one.start <= f"{year}-12-01")
            reference = self.known.head(self.versions[version - 1][2])
            current = lived.filter(pl.col("date").dt.year() == year)
            for name in FEATURES:
                bins = (
                    stats.NumericBins.from_reference(reference[name].to_numpy())
                    if reference[name].dtype == pl.Int64
                    else stats.CategoryBins.from_reference(reference[name].cast(pl.String).to_list())
                )
                values = [
                    rows[name].to_numpy() if reference[name].dtype == pl.Int64 else rows[name].cast(pl.String).to_list()
                    for rows in (reference, current)
                ]
                test = stats.tolerance_test(*(bins.count(value) for value in values), tolerance=0.05, min_rows=500)
                yield ShiftCell(
                    feature=name,
                    start=start.isoformat(),
                    end=date(year + 1, 1, 1).isoformat(),
                    version=version,
                    psi=test.statistic,
                    is_shifted=test.decision == "shifted",
                )


def span(version: int, stage: str, share: float, start: date, end: date | None, outcome: str, reason: str) -> StageSpan:
    return StageSpan(
        version=version,
        stage=stage,
        share=share,
        start=start.isoformat(),
        end=None if end is None else end.isoformat(),
        outcome=outcome,
        reason=reason,
    )


def following(month: date) -> date:
    return (month + timedelta(days=31)).replace(day=1)


def rms(residual: np.ndarray) -> float:
    return float(np.sqrt((residual**2).mean()))


@cache
def facts() -> Facts:
    life = Life(World(SEED, range(1980, 1986)))
    life.through()
    return life.facts()


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("report") / "report.html"
    render(facts(), path)
    return path.read_text()


class Page(HTMLParser):
    """The tags of a page, what they load, and their text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]

    def handle_data(self, data: str) -> None:
        self.text += " " + data


def test_the_report_loads_and_runs_nothing(page: str) -> None:
    found = Page(page)
    assert not {"script", "link", "img", "iframe", "object", "embed", "image"} & set(found.tags)
    addresses = [(tag, name, value) for tag, name, value in found.attributes if re.search(r"//|^data:|^on", value)]
    assert {name for _, name, _ in addresses} <= {"xmlns", "xmlns:xlink"}
    assert not [name for _, name, _ in found.attributes if name.startswith("on") or name in {"src", "href"}]
    assert not re.search(r"@import|@font-face|url\((?!#)", page)


def test_every_chart_is_there_for_a_screen_and_for_a_phone(page: str) -> None:
    assert page.count("<svg") == 8
    assert page.count('class="wide"') == page.count('class="narrow"') == 4
    assert "NaN" not in page
    ids = re.findall(r'\bid="([^"]+)"', page)
    assert len(ids) == len(set(ids))  # two drawings in one page must not share a clip path


def test_the_report_says_what_the_facts_say(page: str) -> None:
    text = " ".join(Page(page).text.split())
    for policy in facts().policies:
        assert f"{policy.rmse:.3f}" in text
        assert f"{policy.rmse_last_year:.3f}" in text
        assert f"{policy.bias_last_year:+.3f}" in text
    for moment in facts().timeline:
        assert moment.says in text
    for version in facts().versions:
        assert f"Version {version.version}" in text
        for gate in version.gates:
            assert gate.sentence in text
    assert "shadow passed no guard fired" in text
    for command in facts().commands:
        assert command.command in text


def test_the_facts_travel_as_json() -> None:
    assert msgspec.json.decode(msgspec.json.encode(facts()), type=Facts) == facts()


def test_a_world_in_which_nothing_happened_is_reported_too(tmp_path: Path) -> None:
    whole = facts()
    quiet = msgspec.structs.replace(
        whole,
        policies=[msgspec.structs.replace(policy, trainings=1) for policy in whole.policies],
        marks=[],
        shifts=[msgspec.structs.replace(cell, is_shifted=False, psi=None) for cell in whole.shifts],
        rollouts=[one for one in whole.rollouts if one.version == 1],
        versions=whole.versions[:1],
        timeline=[],
    )
    render(quiet, tmp_path / "quiet.html")
    text = (tmp_path / "quiet.html").read_text()
    assert "was never trained again" in text
    assert "No input shifts beyond its tolerance" in text
    assert "no other is rolled out" in text


def test_text_from_the_facts_is_text_and_never_markup(tmp_path: Path) -> None:
    tricky = "<script>alert('x')</script>"
    moment = Moment(at="1982-01-01", what=tricky, says=tricky, numbers={tricky: tricky})
    shifts = [msgspec.structs.replace(cell, feature=tricky, is_shifted=True) for cell in facts().shifts[:1]]
    render(msgspec.structs.replace(facts(), timeline=[moment], title=tricky, shifts=shifts), tmp_path / "report.html")
    assert "script" not in Page((tmp_path / "report.html").read_text()).tags
