"""Import of W&B's offline runs, from logs that are written here record by record."""

from __future__ import annotations

import json
import zlib
from pathlib import Path
from typing import Any

import pytest

from perennial.tracking.importing.wandb_log import BLOCK, MAGIC, messages
from tests.tracking.importing.conftest import Home

START = 1_700_000_000


def varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def fields(*pairs: tuple[int, int | str | bytes]) -> bytes:
    raw = b""
    for number, value in pairs:
        if isinstance(value, int):
            raw += varint(number << 3) + varint(value & (2**64 - 1))
        else:
            data = value.encode() if isinstance(value, str) else value
            raw += varint(number << 3 | 2) + varint(len(data)) + data
    return raw


def items(number: int, values: dict[str, Any], *, nested: bool = False) -> bytes:
    made: list[tuple[int, bytes]] = []
    for key, value in values.items():
        names = [(2, part) for part in key.split("/")] if nested and "/" in key else [(1, key)]
        made.append((1, fields(*names, (16, json.dumps(value)))))
    return fields((number, fields(*made)))


def start(run: str, project: str = "digits", **more: Any) -> bytes:
    told: list[tuple[int, int | str | bytes]] = [(1, run), (3, project), (8, "brave-fox"), (9, "a\nnote")]
    told += [(10, tag) for tag in ("x", "y")]
    told += [(17, fields((1, START), (2, 500_000_000))), (21, fields((2, "c0ffee")))]
    config = [(1, fields((1, key), (16, json.dumps(value)))) for key, value in more.items()]
    return fields((17, fields(*told, (4, fields(*config)))))


def history(step: int, **values: Any) -> bytes:
    return items(2, {"_step": step, "_timestamp": START + step, "_runtime": step, **values})


def log(*records: bytes) -> bytes:
    """The records in blocks, a long one in pieces."""
    out = bytearray(MAGIC)
    for record in records:
        rest, is_first = record, True
        while True:
            room = BLOCK - len(out) % BLOCK
            if room < 7:
                out += bytes(room)
                room = BLOCK
            part, rest = rest[: room - 7], rest[room - 7 :]
            kind = (1 if is_first else 4) if not rest else (2 if is_first else 3)
            out += zlib.crc32(bytes([kind]) + part).to_bytes(4, "little") + len(part).to_bytes(2, "little")
            out += bytes([kind]) + part
            is_first = False
            if not rest:
                break
    return bytes(out)


def offline(folder: Path, when: str, run: str, *records: bytes) -> Path:
    there = folder / f"offline-run-{when}-{run}"
    (there / "files").mkdir(parents=True)
    (there / f"run-{run}.wandb").write_bytes(log(*records))
    return there


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "wandb"


END = fields((18, fields((1, 0), (2, 60))))


def test_a_run_comes_with_all_that_hangs_on_it(home: Home, folder: Path) -> None:
    there = offline(
        folder, "20240101_000000", "abcd1234",
        start("abcd1234", lr=0.1, net={"depth": 3, "act": "relu"}, layers=[1, 2], _wandb={"cli": 1}),
        items(5, {"late/one": True}, nested=True),
        history(0, loss=1.0, nest={"a": 1, "b": {"c": 2}}),
        history(1, loss=float("nan"), other=float("-inf"), flag=True, text="words", many=[1]),
        history(2, loss="Infinity", picture={"_type": "image-file", "path": "p.png"}),
        fields((7, fields((2, fields((1, START + 9))), (3, fields((1, "cpu"), (16, "12.5")))))),
        items(3, {"loss": 9, "best": 0.25, "verdict": "good", "_step": 2}),
        fields((26, fields((6, "train.py"), (13, "ada")))),
        END,
    )  # fmt: skip
    (there / "files" / "media").mkdir()
    (there / "files" / "media" / "p.png").write_bytes(b"png")
    (there / "files" / "saved").symlink_to(there)

    brought = home.take(folder)

    assert (brought.problems, brought.outcomes["runs"]) == ([], {"added": 1})
    assert {skip.kind: skip.count for skip in brought.skipped} == {
        "metrics of runs that are texts": 1,
        "metrics of runs that are lists": 1,
        "metrics of runs that are of type image-file": 1,
        "links among artifacts": 1,
    }
    run = home.runs.get(run_id="abcd1234")
    assert (run.loop, run.name, run.person, run.status, run.git_commit) == (
        "digits", "brave-fox", "ada", "finished", "c0ffee",
    )  # fmt: skip
    assert (run.started, run.ended) == (START * 10**6 + 500_000, START * 10**6 + 60_500_000)
    assert run.params == {"lr": "0.1", "net.depth": "3", "net.act": "relu", "layers": "[1, 2]", "late.one": "true"}
    kept = [run.tags[key] for key in ("mlflow.note.content", "wandb.tags", "wandb.summary.verdict")]
    assert kept == ["a\nnote", "x,y", "good"]
    ms = START * 1000
    assert home.history("abcd1234", "loss") == [(ms, 0, 1.0), (ms + 1000, 1, "NaN"), (ms + 2000, 2, "Infinity")]
    values = {key: point.value for key, point in run.metrics.items()}
    assert values == {
        "loss": "Infinity", "nest.a": 1.0, "nest.b.c": 2.0, "other": "-Infinity", "flag": 1.0, "best": 0.25,
        "system/cpu": 12.5,
    }  # fmt: skip
    assert [file.path for file in run.artifacts] == ["media/p.png"]
    before = home.everything()
    assert home.take(folder).outcomes["runs"] == {"same": 1}
    assert home.everything() == before


def test_a_run_that_was_resumed_is_one(home: Home, folder: Path) -> None:
    offline(folder, "20240101_000000", "abcd1234", start("abcd1234"), history(0, loss=2.0))
    offline(folder, "20240102_000000", "abcd1234", start("abcd1234"), history(1, loss=1.0), END)
    brought = home.take(folder)
    assert brought.counts["runs"] == 1
    assert [step for _, step, _ in home.history("abcd1234", "loss")] == [0, 1]


def test_a_record_over_several_blocks_is_read(home: Home, folder: Path) -> None:
    long = "x" * (3 * BLOCK)
    offline(
        folder,
        "20240101_000000",
        "abcd1234",
        start("abcd1234", long=long),
        *[history(s, a=s) for s in range(2000)],
        END,
    )
    assert home.take(folder).problems == []
    assert home.runs.get(run_id="abcd1234").params == {"long": long}
    assert len(home.history("abcd1234", "a")) == 2000


def test_a_log_that_ends_in_the_middle_gives_what_was_written(home: Home, folder: Path) -> None:
    there = offline(
        folder, "20240101_000000", "abcd1234", start("abcd1234"), history(0, loss=2.0), history(1, loss=1.0)
    )
    path = there / "run-abcd1234.wandb"
    path.write_bytes(path.read_bytes()[:-5])
    brought = home.take(path)  # the file alone
    assert ([skip.kind for skip in brought.skipped], brought.problems) == (["unfinished last records"], [])
    assert home.runs.get(run_id="abcd1234").status == "killed"
    assert [step for _, step, _ in home.history("abcd1234", "loss")] == [0]


def test_F39_a_damaged_log_does_not_stop_the_others(home: Home, folder: Path) -> None:
    offline(folder, "20240101_000000", "good0000", start("good0000"), END)
    there = offline(folder, "20240101_000001", "bad00000", start("bad00000"), history(0, loss=1.0), END)
    path = there / "run-bad00000.wandb"
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 2] ^= 1
    path.write_bytes(raw)
    (offline(folder, "20240101_000002", "none0000") / "run-none0000.wandb").write_bytes(b"nonsense")
    brought = home.take(folder)
    assert sorted(Path(problem.what.removeprefix("run in ")).name for problem in brought.problems) == [
        "run-bad00000.wandb", "run-none0000.wandb",
    ]  # fmt: skip
    assert [run.id for run in home.runs.list()] == ["good0000"]


def test_every_cut_and_every_flipped_bit_is_noticed_or_harmless(tmp_path: Path) -> None:
    from perennial.tracking.importing.found import Damaged

    whole = log(start("abcd1234"), history(0, loss=1.0), END)
    path = tmp_path / "run.wandb"
    for end in range(len(MAGIC), len(whole)):
        path.write_bytes(whole[:end])
        assert len(messages(path).messages) < 3
    for at in range(len(whole)):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 0x10]) + whole[at + 1 :])
        try:
            found = messages(path)
        except Damaged:
            continue
        assert (found.is_cut, len(found.messages) < 3) == (True, True)  # a length that leads beyond the end
