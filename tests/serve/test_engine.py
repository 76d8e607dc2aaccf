"""One turn of a front: who answers first, and what is left of a request when it is answered."""

from __future__ import annotations

import asyncio
import gc
from pathlib import Path
from typing import Any

import msgspec
import pytest

from perennial.clock import SystemClock
from perennial.errors import PerennialError
from perennial.models.package import checkout
from perennial.models.signature import Signature
from perennial.serve.answer import Answer
from perennial.serve.counters import Counters
from perennial.serve.engine import Engine
from perennial.serve.frames import Answered, decode
from perennial.serve.inline import InlineModel
from perennial.serve.job import Wanted
from perennial.serve.journal import Journal
from perennial.serve.route import Route, intake_of
from perennial.serve.segments import next_frames, segments_in
from perennial.store.files import LocalFiles
from perennial.types import Digest

from .conftest import Place


class Turn:
    """An engine with compiled models `x + version`, each behind an endpoint of its own."""

    def __init__(self, place: Place, folder: Path) -> None:
        self.folder = folder
        self.engine = Engine(Journal(folder, LocalFiles(), SystemClock()), SystemClock(), Counters())
        self.answered: list[tuple[str, list[Any], int]] = []
        self._routes: dict[str, Route] = {}
        for version, name in enumerate(("loud", "quiet"), 1):
            arm = place.linear(version)
            spec = place.endpoint(name, live=arm)
            package = checkout(Digest(arm.package), place.objects, folder / "packages")
            intake = intake_of(spec, msgspec.convert(spec.signature, Signature), max_rows=100)
            self._routes[name] = Route(spec, intake, {"live": InlineModel(arm.package, package)}, privacy=None)

    def submit(self, name: str, *x: float) -> None:
        route = self._routes[name]

        def done(told: Answer | PerennialError) -> None:
            assert isinstance(told, Answer)
            self.answered.append((name, told.values, len(self.written())))

        asked = route.intake.of_records([{"person": "p", "x": value} for value in x])
        self.engine.submit(route, asked, Wanted("plain", 10.0), done)

    def admits(self, name: str) -> bool:
        return self.engine.admits(self._routes[name])

    def written(self) -> list[Answered]:
        frames = [
            decode(framed.payload)
            for path in segments_in(self.folder)
            for framed in next_frames(path)
            if framed.payload is not None
        ]
        return [frame for frame in frames if isinstance(frame, Answered)]


async def _turned() -> None:
    for _ in range(3):
        await asyncio.sleep(0)


def test_S04_who_asks_for_little_is_answered_before_those_who_ask_for_much(place: Place, tmp_path: Path) -> None:
    async def ask() -> Turn:
        turn = Turn(place, tmp_path / "segments")
        for request in range(20):
            turn.submit("loud", *(float(request + row) for row in range(10)))
        turn.submit("quiet", 3.0)
        await _turned()
        return turn

    turn = asyncio.run(ask())
    name, values, written = turn.answered[0]
    assert (name, values) == ("quiet", [pytest.approx(5.0)])
    assert written == 1  # what it was answered is written down, and of the others nothing is computed yet
    assert [name for name, _, _ in turn.answered[1:]] == ["loud"] * 20
    assert turn.answered[1][2] == 21


def test_S04_a_model_that_too_many_wait_for_does_not_refuse_who_asks_another(place: Place, tmp_path: Path) -> None:
    async def ask() -> list[bool]:
        turn = Turn(place, tmp_path / "segments")
        for rows in (1, 5, 10) * 20:
            turn.engine.pace.took(rows, rows * 0.5)
        for _ in range(21):
            turn.submit("loud", 2.0)
        told = [turn.admits("loud"), turn.admits("quiet")]
        await _turned()
        return told

    assert asyncio.run(ask()) == [False, True]


def test_an_answered_request_is_gone_without_the_collector(place: Place, tmp_path: Path) -> None:
    async def ask() -> int:
        turn = Turn(place, tmp_path / "segments")
        turn.submit("quiet", 1.0)
        await _turned()
        gc.collect()
        gc.disable()
        try:
            for request in range(200):
                turn.submit("quiet", float(request))
                await _turned()
            return gc.collect()
        finally:
            gc.enable()

    assert asyncio.run(ask()) < 100  # objects; a circle around each request would leave thousands
