"""Segments: what was written is read back, what is half-written or damaged is told apart, every id is accounted for."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeGuard

import pytest

from perennial.errors import Corrupt, StoreError
from perennial.serve.frames import Closed, Issued, Layout, Opened, decode
from perennial.serve.segments import (
    AHEAD_BYTES,
    BLOCK,
    LATEST_BYTES,
    MAGIC,
    ROTATE_BYTES,
    Place,
    SegmentWriter,
    is_being_written,
    newest,
    next_frames,
    next_payloads,
    number_of,
    read_frame,
    segments_in,
    tail_bytes,
)
from perennial.store.files import LocalFiles, SystemCalls
from perennial.types import Micros

NOW = Micros(1_700_000_000_000_000)
SECOND = 1_000_000


def write(folder: Path, *payloads: bytes) -> Path:
    writer = SegmentWriter(folder, LocalFiles())
    for payload in payloads:
        writer.append(payload)
    writer.close()
    return segments_in(folder)[-1]


def frames(path: Path) -> list[Any]:
    """What the writer says of its own."""
    given = [framed.payload for framed in next_frames(path)]
    return [decode(payload) for payload in given if _is_ours(payload)]


def _is_ours(payload: bytes | None) -> TypeGuard[bytes]:
    return payload is not None and payload[0] & 0xF0 == 0x90


def payloads(path: Path) -> list[bytes | None]:
    """What was given to the writer."""
    return [framed.payload for framed in next_frames(path) if not _is_ours(framed.payload)]


def test_a_tail_cut_at_any_byte_loses_only_the_last_frame(tmp_path: Path) -> None:
    path = write(tmp_path, b"first", b"second", b"third")
    whole = path.read_bytes()
    ends = [framed.end for framed in next_frames(path)]
    for size in range(len(whole)):
        path.write_bytes(whole[:size])
        kept = [framed.end for framed in next_frames(path)]
        assert kept == [end for end in ends if end <= size]
        assert tail_bytes(path, kept[-1] if kept else 0) == max(0, size - max([len(MAGIC), *kept]))


def test_P5_a_flipped_bit_hides_one_frame_and_not_those_behind_it(tmp_path: Path) -> None:
    path = write(tmp_path, b"first", b"second", b"third")
    data = bytearray(path.read_bytes())
    data[data.index(b"second")] ^= 1
    path.write_bytes(data)
    assert payloads(path) == [b"first", None, b"third"]
    (damaged,) = [framed.start for framed in next_frames(path) if framed.payload is None]
    with pytest.raises(Corrupt):
        read_frame(Place(path, damaged))


def test_zeros_after_a_power_cut_are_a_cut_tail(tmp_path: Path) -> None:
    path = write(tmp_path, b"first")
    path.write_bytes(path.read_bytes() + bytes(4096))
    assert payloads(path) == [b"first"]


def test_each_writer_has_a_segment_of_its_own_and_greater_ids(tmp_path: Path) -> None:
    one, two = SegmentWriter(tmp_path, LocalFiles()), SegmentWriter(tmp_path, LocalFiles(), worker=1)
    ids = [one.issue(3, NOW), one.issue(1, Micros(NOW - 5_000_000)), two.issue(1, NOW)]
    assert ids == sorted(ids)
    assert len(set(ids)) == 3
    assert all(len(made) == 26 for made in ids)
    assert len(segments_in(tmp_path)) == 2
    one.close()
    two.close()
    assert [frames(path)[0].worker for path in segments_in(tmp_path)] == [0, 1]


MANY = """
import sys
from pathlib import Path
from perennial.serve.segments import SegmentWriter
from perennial.store.files import LocalFiles
sys.stdin.read(1)
for _ in range(40):
    writer = SegmentWriter(Path(sys.argv[1]), LocalFiles(), worker=int(sys.argv[2]))
    writer.append(b"by %d" % int(sys.argv[2]))
    writer.close()
"""


def test_processes_that_begin_segments_at_once_never_share_one(tmp_path: Path) -> None:
    processes = [
        subprocess.Popen([sys.executable, "-c", MANY, str(tmp_path), str(worker)], stdin=subprocess.PIPE)
        for worker in range(3)
    ]
    for process in processes:
        assert process.stdin is not None
        process.stdin.write(b".")
        process.stdin.close()
    assert [process.wait() for process in processes] == [0, 0, 0]
    paths = segments_in(tmp_path)
    assert [number_of(path) for path in paths] == list(range(1, 121))
    for path in paths:
        assert payloads(path) == [b"by %d" % frames(path)[0].worker]


def test_a_segment_counts_as_being_written_while_its_process_lives(tmp_path: Path) -> None:
    code = (
        "import sys\n"
        "from pathlib import Path\n"
        "from perennial.serve.segments import SegmentWriter\n"
        "from perennial.store.files import LocalFiles\n"
        "writer = SegmentWriter(Path(sys.argv[1]), LocalFiles())\n"
        "print('ready', flush=True)\n"
        "sys.stdin.read()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        (path,) = segments_in(tmp_path)
        assert is_being_written(path)
        assert is_being_written(path), "looking changes nothing"
        process.kill()
        process.wait()
    assert not is_being_written(path)
    assert not is_being_written(tmp_path / "none.seg")


def test_a_full_segment_is_followed_by_the_next_one_with_the_same_layouts(tmp_path: Path) -> None:
    writer = SegmentWriter(tmp_path, LocalFiles(), worker=3)
    number = writer.layout("wage", ["age", "id"], key=1, policy={"id": "hash"})
    other = writer.layout("flower", ["petal"], classes=["setosa", "virginica"])
    assert (number, other) == (0, 1)
    assert writer.layout("wage", ["age", "id"], key=1, policy={"id": "hash"}) == number
    assert writer.layout("wage", ["age", "id"], key=1) not in (number, other), "another policy is another layout"
    first = writer.issue(5, NOW)
    big = bytes(ROTATE_BYTES)
    places = writer.append_many([big])
    writer.sync()
    places += writer.append_many([b"\x01after", b"\x01more"], rows=5)
    assert [place.path.name for place in places] == ["000001.seg", "000002.seg", "000002.seg"]
    assert [read_frame(place) for place in places[1:]] == [b"\x01after", b"\x01more"]
    assert writer.issue(1, NOW) > first
    writer.drop(1)
    writer.close()
    one, two = (frames(path) for path in segments_in(tmp_path))
    assert isinstance(two[0], Opened)
    assert (one[0].worker, two[0].worker) == (3, 3)
    assert (one[0].first, two[0].first) == (1, 1)
    assert [frame for frame in one if isinstance(frame, Layout)] == [
        frame for frame in two if isinstance(frame, Layout)
    ]
    assert one[-1] == Closed(issued=5, stored=0, dropped=0), "these were pending when it was full"
    assert two[-1] == Closed(issued=6, stored=5, dropped=1)


class Counted(SystemCalls):
    """A disk whose flushes are counted."""

    flushes = 0

    def fsync(self, descriptor: int) -> None:
        Counted.flushes += 1
        super().fsync(descriptor)


def test_the_next_segment_is_there_before_it_is_needed_so_that_no_answer_waits_for_the_disk(tmp_path: Path) -> None:
    writer = SegmentWriter(tmp_path, LocalFiles(Counted()))
    writer.append(bytes(AHEAD_BYTES))
    assert len(segments_in(tmp_path)) == 1
    writer.sync()
    (_, ahead) = segments_in(tmp_path)
    assert [type(frame) for frame in frames(ahead)] == [Opened, Issued]
    assert is_being_written(ahead)
    before = Counted.flushes
    writer.append(bytes(ROTATE_BYTES))
    place = writer.append(b"\x01after", rows=1)
    assert place.path == ahead
    first = writer.issue(BLOCK, NOW)
    assert int(first[12:18], 16) == number_of(ahead)
    assert Counted.flushes == before
    writer.append(bytes(AHEAD_BYTES))
    writer.sync()
    assert len(segments_in(tmp_path)) == 3
    writer.close(dropped=BLOCK - 1)
    assert segments_in(tmp_path)[1:] == [ahead], "what was not needed is gone"
    assert frames(ahead)[-1] == Closed(issued=BLOCK, stored=1, dropped=BLOCK - 1)


def test_a_segment_grows_a_little_where_the_next_one_is_not_there_yet_and_is_then_left_all_the_same(
    tmp_path: Path,
) -> None:
    writer = SegmentWriter(tmp_path, LocalFiles())
    writer.append(bytes(ROTATE_BYTES))
    assert writer.append(bytes(LATEST_BYTES - ROTATE_BYTES)).path.name == "000001.seg"
    assert writer.append(b"\x01after").path.name == "000002.seg"
    writer.close()


@pytest.mark.parametrize("pause_us", [1, 100, SECOND])
def test_P3_no_id_is_given_out_that_was_not_reserved_before(tmp_path: Path, pause_us: int) -> None:
    writer = SegmentWriter(tmp_path, LocalFiles())
    (path,) = segments_in(tmp_path)
    given = written = 0
    reserved: list[int] = []
    for i in range(400):
        first = writer.issue(100, Micros(NOW + i * pause_us))
        given = int(first[18:], 16) + 100
        reserved = [frame.count for frame in frames(path) if isinstance(frame, Issued)]
        assert given <= max(reserved)
        written = len(reserved)
    assert given == 40_000
    if pause_us == SECOND:
        assert max(reserved) - given <= 2 * BLOCK, "slowly: little more than what was used"
    else:
        assert written < 12, "quickly: blocks grow"
    writer.close()


class HalfWrites(SystemCalls):
    """A disk that takes half of a frame and is then full."""

    left = 2

    def write(self, descriptor: int, data: bytes | memoryview) -> int:
        if len(data) > 100:
            self.left -= 1
            if not self.left:
                raise OSError(28, "No space left on device")
            return super().write(descriptor, data[:50])
        return super().write(descriptor, data)


def test_F04_a_full_disk_leaves_the_segment_as_it_was(tmp_path: Path) -> None:
    writer = SegmentWriter(tmp_path, LocalFiles(HalfWrites()))
    writer.append(b"small")
    with pytest.raises(StoreError, match="the disk is full"):
        writer.append_many([b"a", bytes(200), b"c"], rows=3)
    assert writer.stored == 0
    writer.append(b"small again", rows=1)
    writer.close(dropped=3)
    (path,) = segments_in(tmp_path)
    assert payloads(path) == [b"small", b"small again"]
    assert frames(path)[-1] == Closed(issued=0, stored=1, dropped=3)


class Full(SystemCalls):
    """A disk that is full while told so, and perhaps does not let go of half a frame."""

    is_full = False
    may_truncate = True

    def write(self, descriptor: int, data: bytes | memoryview) -> int:
        if self.is_full:
            super().write(descriptor, data[: len(data) // 2])
            raise OSError(28, "No space left on device")
        return super().write(descriptor, data)

    def truncate(self, descriptor: int, size: int) -> None:
        if not self.may_truncate:
            raise OSError(5, "Input/output error")
        super().truncate(descriptor, size)


@pytest.mark.parametrize("may_truncate", [True, False])
def test_F04_ids_are_given_out_while_the_disk_is_full_and_written_again_when_space_returns(
    tmp_path: Path, *, may_truncate: bool
) -> None:
    calls = Full()
    calls.may_truncate = may_truncate
    writer = SegmentWriter(tmp_path, LocalFiles(calls))
    ids = [writer.issue(1000, NOW)]
    calls.is_full = True
    for _ in range(5):
        ids.append(writer.issue(1000, NOW))
        with pytest.raises(StoreError):
            writer.append_many([b"lost"], rows=1000)
        writer.drop(1000)
    assert len(segments_in(tmp_path)) == 1, "no empty segments are left behind"
    calls.is_full = False
    ids.append(writer.issue(1000, NOW))
    writer.append_many([b"kept"], rows=1000)
    assert ids == sorted(set(ids))
    writer.close(dropped=1000)
    last = segments_in(tmp_path)[-1]
    assert payloads(last) == [b"kept"]
    assert frames(last)[-1] == Closed(issued=7000, stored=1000, dropped=6000)
    assert len(segments_in(tmp_path)) == (1 if may_truncate else 2)


def sizes(folder: Path, given: Sequence[int]) -> list[str]:
    for number, size in enumerate(given, 1):
        (folder / f"{number:06x}.seg").write_bytes(bytes(size))
    return [path.name[5] for path in newest(segments_in(folder), 100)]


@pytest.mark.parametrize(
    "given, kept",
    [([], []), ([500], ["1"]), ([50, 40, 30], ["2", "3"]), ([50, 500], ["2"]), ([1, 1, 98], ["1", "2", "3"])],
)
def test_the_newest_segments_are_those_that_fit_and_always_the_last(
    tmp_path: Path, given: list[int], kept: list[str]
) -> None:
    assert sizes(tmp_path, given) == kept


def taken(path: Path, at_most_bytes: int, start: int = 0) -> tuple[list[bytes | None], int]:
    """All that `next_payloads` gives, piece by piece."""
    found: list[bytes | None] = []
    while True:
        more, end = next_payloads(path, start, at_most_bytes=at_most_bytes)
        if not more:
            return found, start
        assert end > start
        found, start = found + more, end


@pytest.mark.parametrize("at_most_bytes", [1, 30, 64, 1000, 1 << 20])
def test_frames_that_are_read_many_at_once_are_the_same_ones(tmp_path: Path, at_most_bytes: int) -> None:
    """Frames larger than what is read at once, damaged ones in the middle and at an end of a piece, and cut tails."""
    path = write(tmp_path, *(bytes([65 + i]) * size for i, size in enumerate([1, 3, 200, 5000, 7, 64, 22, 900])))
    whole = path.read_bytes()
    every = list(next_frames(path))
    for damaged in every:
        data = bytearray(whole)
        data[damaged.end - 1] ^= 1
        for cut in (0, 1, 5, 40):
            path.write_bytes(data[: len(data) - cut])
            told = list(next_frames(path))
            assert taken(path, at_most_bytes) == ([frame.payload for frame in told], told[-1].end if told else 0)
            start = every[1].end
            later = [frame.payload for frame in next_frames(path, start)]
            assert taken(path, at_most_bytes, start)[0] == later


def test_what_is_no_segment_gives_no_frames(tmp_path: Path) -> None:
    path = tmp_path / "000001.seg"
    for data in (b"", MAGIC[:5], MAGIC, b"something else" * 100):
        path.write_bytes(data)
        assert next_payloads(path, 0) == ([], 0)
