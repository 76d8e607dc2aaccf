"""Faults planted in real data are found by the gate that is meant for them, and their clean twins pass.

How many of fifty are missed and how many twins are refused falsely, `benchmarks/planted.py` prints; here
they are held to what was found, with some room for another version of a library.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from perennial.clock import FixedClock
from perennial.ids import SeededIds
from perennial.registry.versions import Models
from perennial.store.records import Records, create_tables
from perennial.store.tables import import_tables
from perennial.types import Micros
from tests.evaluate import planted

FEW, MANY = 4, 50
DRAWS = {"leak": planted.leak, "subgroup": planted.subgroup, "margin": planted.margin}


@pytest.fixture(scope="module")
def data(request: pytest.FixtureRequest) -> planted.Data:
    return planted.Data.load(request.getfixturevalue("shared_data"))


@pytest.fixture
def models(tmp_path: Path) -> Iterator[Models]:
    import_tables()
    clock = FixedClock(Micros(1_700_000_000_000_000))
    with Records.open(f"sqlite:///{tmp_path / 'records.db'}", clock=clock, ids=SeededIds(1)) as records:
        create_tables(records)
        yield Models(records)


def outcomes(draw: planted.Draw, data: planted.Data, count: int) -> list[planted.Outcome]:
    return [draw(data, seed) for seed in range(count)]


@pytest.mark.parametrize("kind", DRAWS)
def test_nearly_all_planted_faults_are_found_and_clean_twins_pass(data: planted.Data, kind: str) -> None:
    found = outcomes(DRAWS[kind], data, FEW)
    assert len([one.fault for one in found if one.missed]) <= 1
    assert [one.fault for one in found if one.refused] == []


@pytest.mark.long
@pytest.mark.parametrize("kind,misses,refusals", [("leak", 7, 1), ("subgroup", 11, 1), ("margin", 1, 2)])
def test_of_fifty_faults_few_are_missed_and_few_twins_refused(
    data: planted.Data, kind: str, misses: int, refusals: int
) -> None:
    found = outcomes(DRAWS[kind], data, MANY)
    assert len([one.fault for one in found if one.missed]) <= misses
    assert len([one.fault for one in found if one.refused]) <= refusals


def test_labels_guessed_from_three_hundred_results_are_refused_and_an_honest_model_is_not(models: Models) -> None:
    found = [planted.memorised(models, planted.TRIES, seed) for seed in range(2)]
    assert [(one.missed, one.refused) for one in found] == [(False, False)] * 2


@pytest.mark.parametrize("weighted", [False, True])
def test_within_a_budget_of_a_hundred_a_guess_is_refused_and_an_honest_model_at_the_same_look_is_not(
    models: Models, weighted: bool
) -> None:
    found = [planted.memorised(models, 99, seed, weighted=weighted) for seed in range(3)]
    assert [(one.missed, one.refused) for one in found] == [(False, False)] * 3


def test_the_attack_is_as_strong_as_published() -> None:
    """Blum & Hardt (2015), as recomputed for 300 tries on 2,000 rows: a loss of 0.411, truly 0.5."""
    measured = [float((guess != truth).mean()) for truth, guess, _ in (planted.attack(300, seed) for seed in range(20))]
    assert np.mean(measured) == pytest.approx(0.411, abs=0.01)
