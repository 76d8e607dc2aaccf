"""What a front sends to a worker, and what it keeps to itself."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec

from perennial.errors import Unavailable
from perennial.serve.asked import Asked
from perennial.serve.line import Line
from perennial.serve.orders import LENGTH, Told, framed
from perennial.serve.parts import Part


async def asked_of(folder: Path, timeouts_s: list[float], *, row_s: float) -> tuple[list[list[float]], list[Part]]:
    """What a worker that takes so long for a row hears of parts of one row that are asked at once, and how they end."""
    heard: list[list[float]] = []
    gone = asyncio.Event()

    async def work(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        here = framed(Told([], pid=1))
        writer.write(here)
        with suppress(ConnectionError):
            while head := await reader.read(LENGTH.size):
                rows: list[list[Any]] = msgspec.msgpack.decode(await reader.readexactly(LENGTH.unpack(head)[0]))
                writer.write(here)
                heard.append([row[0] for row in rows])
                await asyncio.sleep(row_s * len(rows))
                writer.write(framed(Told([row[0] for row in rows])))
        writer.close()
        gone.set()

    address = str(folder / "worker")
    server = await asyncio.start_unix_server(work, address)
    line = Line("package", address, "model", lambda pid: None, hang_s=60.0)
    for _ in range(100):
        for rows in (1, 2, 4):
            line.pace.took(rows, row_s * rows)
    ended = asyncio.Event()
    parts = [Part(Asked(["x"], [(float(at),)]), "live", lambda part: None) for at in range(len(timeouts_s))]
    settled: list[Part] = []

    def done(part: Part) -> None:
        settled.append(part)
        if len(settled) == len(parts):
            ended.set()

    for part, timeout_s in zip(parts, timeouts_s, strict=True):
        part.done = done
        line.ask(part, timeout_s)
    await asyncio.wait_for(ended.wait(), 60)
    line.close()
    await asyncio.wait_for(gone.wait(), 60)
    server.close()
    await server.wait_closed()
    return heard, parts


def test_S02_who_cannot_be_answered_in_time_is_not_computed_and_makes_nobody_too_late(tmp_path: Path) -> None:
    # A row takes 0.4 s. The first is under way when the next three have 0.2 s left, and the last one all the time.
    heard, parts = asyncio.run(asked_of(tmp_path, [5.0, 0.6, 0.6, 0.6, 60.0], row_s=0.4))
    assert [x for rows in heard for x in rows] == [0.0, 4.0]
    assert [part.told is not None for part in parts] == [True, False, False, False, True]
    assert all(isinstance(part.failure, Unavailable) for part in parts[1:4])


def test_who_waits_goes_into_one_message_where_everybody_has_time(tmp_path: Path) -> None:
    heard, parts = asyncio.run(asked_of(tmp_path, [60.0] * 6, row_s=0.05))
    assert sorted(x for rows in heard for x in rows) == [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]
    assert len(heard) <= 2
    assert [part.told.values for part in parts if part.told is not None] == [[float(at)] for at in range(6)]


def test_one_that_comes_too_late_is_tried_where_nobody_else_waits(tmp_path: Path) -> None:
    """Or what a call takes would never be learnt anew."""
    heard, parts = asyncio.run(asked_of(tmp_path, [0.2], row_s=0.4))
    assert heard == [[0.0]]
    assert isinstance(parts[0].failure, Unavailable)
