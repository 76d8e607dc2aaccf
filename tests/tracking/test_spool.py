"""What was laid down in a spool is read again in order, whatever happened to the process or the disk meanwhile."""

from __future__ import annotations

import errno
import os
import stat
import threading
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from perennial.store.files import LocalFiles, SystemCalls
from perennial.tracking.left import unsent
from perennial.tracking.segment import HEADER_BYTES, Frame, frames_in, open_segment, read_only, spools_in
from perennial.tracking.spool import Spool

RUN = "0123456789abcdef" * 2
GIB = 1 << 30


def spool_in(folder: Path, *, cap: int = GIB, calls: SystemCalls | None = None, segment: int = 0) -> Spool:
    return Spool(folder, RUN, is_owner=True, cap_bytes=cap, files=LocalFiles(calls), segment_bytes=segment)


def read(path: Path) -> list[Frame]:
    segment = read_only(path)
    try:
        return list(frames_in(segment, HEADER_BYTES, segment.size))
    finally:
        segment.close()


def read_all(folder: Path) -> list[bytes | None]:
    return [frame.payload for paths in spools_in(folder).values() for path in paths for frame in read(path)]


def laid_down(folder: Path, payloads: list[bytes]) -> Path:
    spool = spool_in(folder)
    for payload in payloads:
        assert spool.append(payload, 1)
    spool.close(remove=False)
    (path,) = folder.iterdir()
    return path


def test_frames_come_back_in_order_over_many_files(tmp_path: Path) -> None:
    spool = spool_in(tmp_path, segment=1_000)
    payloads = [b"%d" % i * (i % 50) for i in range(300)] + [b"x" * 3_000_000, b""]
    for payload in payloads:
        assert spool.append(payload, 2)
    assert len(spool.segments) > 5
    assert read_all(tmp_path) == payloads
    assert spool.received == spool.written == 2 * len(payloads)
    spool.close(remove=True)
    assert not list(tmp_path.iterdir())


def test_a_spool_is_for_its_user_only(tmp_path: Path) -> None:
    path = laid_down(tmp_path, [b"a"])
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_frame_is_one_write(tmp_path: Path) -> None:
    class Counting(SystemCalls):
        writes = 0

        def write(self, descriptor: int, data: bytes | memoryview) -> int:
            self.writes += 1
            return super().write(descriptor, data)

    calls = Counting()
    spool = spool_in(tmp_path, calls=calls)
    before = calls.writes
    spool.append(b"x" * 100, 1)
    assert calls.writes == before + 1
    spool.close(remove=True)


def test_F32_a_torn_end_is_dropped_and_counted_at_every_length(tmp_path: Path) -> None:
    path = laid_down(tmp_path, [b"first", b"second"])
    whole = path.read_bytes()
    (first, second) = read(path)
    for size in range(first.end, second.end):
        path.write_bytes(whole[:size])
        kept = [frame.payload for frame in read(path)]
        assert kept == [b"first"] + ([None] if size > first.end else [])
        (left,) = unsent(tmp_path, LocalFiles()).spools
        assert (left.received, left.pending, left.damaged_bytes) == (1, 1, size - first.end)


@given(data=st.data())
@settings(max_examples=200, deadline=None)
def test_a_damaged_frame_costs_no_other(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    payloads = data.draw(st.lists(st.binary(max_size=60), min_size=1, max_size=8))
    path = laid_down(tmp_path_factory.mktemp("spool"), payloads)
    whole = bytearray(path.read_bytes())
    at = data.draw(st.integers(HEADER_BYTES, len(whole) - 1))
    sound = read(path)
    hit = next(index for index, frame in enumerate(sound) if frame.end > at)
    whole[at] ^= data.draw(st.integers(1, 255))
    path.write_bytes(whole)
    assert [frame.payload for frame in read(path) if frame.payload is not None] == [
        payload for index, payload in enumerate(payloads) if index != hit
    ]


def test_P3_what_is_over_the_cap_is_dropped_counted_and_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spool = spool_in(tmp_path, cap=1_000)
    kept = sum(spool.append(b"x" * 88, 3) for _ in range(20))
    assert kept == 10
    assert (spool.received, spool.written, spool.dropped) == (60, 30, 30)
    assert spool.append(b"the end of the run", is_capped=False)
    told = capsys.readouterr().err
    assert "points are lost" in told
    assert len(told.splitlines()) < 6  # not once for each
    spool.close(remove=False)
    left = unsent(tmp_path, LocalFiles())
    assert (left.received, left.stored, left.refused, left.dropped, left.pending) == (60, 0, 0, 30, 30)


def test_what_was_delivered_makes_room(tmp_path: Path) -> None:
    spool = spool_in(tmp_path, cap=200)
    assert spool.append(b"x" * 150, 1)
    assert not spool.append(b"x" * 150, 1)
    spool.delivered(162)
    assert spool.append(b"x" * 150, 1)
    spool.close(remove=True)


class Failing(SystemCalls):
    """A disk that takes half of a frame and then says that it is full."""

    is_full = False
    is_broken = False

    def write(self, descriptor: int, data: bytes | memoryview) -> int:
        if self.is_full and len(data) > 4:
            return super().write(descriptor, data[: len(data) // 2])
        if self.is_full:
            raise OSError(errno.ENOSPC, "No space left on device")
        return super().write(descriptor, data)

    def fsync(self, descriptor: int) -> None:
        if self.is_broken:
            raise OSError(errno.EIO, "Input/output error")
        super().fsync(descriptor)


def test_F32_a_full_disk_raises_nothing_and_leaves_no_half_frame(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    calls = Failing()
    spool = spool_in(tmp_path, calls=calls)
    assert spool.append(b"before", 1)
    calls.is_full = True
    assert not spool.append(b"lost " * 20, 5)
    calls.is_full = False
    assert spool.append(b"after", 1)
    assert (spool.received, spool.written, spool.dropped) == (7, 2, 5)
    assert read_all(tmp_path) == [b"before", b"after"]
    assert "No space left" in capsys.readouterr().err
    spool.close(remove=True)


@pytest.mark.parametrize("is_late", [False, True])
def test_F32_an_interrupt_while_a_frame_is_written_leaves_nothing_of_it(tmp_path: Path, *, is_late: bool) -> None:
    class Interrupted(SystemCalls):
        is_now = False

        def write(self, descriptor: int, data: bytes | memoryview) -> int:
            if not self.is_now:
                return super().write(descriptor, data)
            self.is_now = False
            if is_late:
                super().write(descriptor, data)
            raise KeyboardInterrupt

    calls = Interrupted()
    spool = spool_in(tmp_path, calls=calls)
    assert spool.append(b"before", 1)
    calls.is_now = True
    with pytest.raises(KeyboardInterrupt):
        spool.append(b"nobody was told that this is kept", 1)
    assert spool.append(b"after", 1)
    assert read_all(tmp_path) == [b"before", b"after"]
    assert (spool.received, spool.written) == (2, 2)
    spool.close(remove=True)


def test_after_a_failed_flush_the_next_file_begins(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    calls = Failing()
    spool = spool_in(tmp_path, calls=calls)
    spool.append(b"before", 1)
    calls.is_broken = True
    spool.sync()
    calls.is_broken = False
    assert "power loss" in capsys.readouterr().err
    spool.append(b"after", 1)
    assert len(spool.segments) == 2
    assert read_all(tmp_path) == [b"before", b"after"]
    spool.close(remove=True)


def test_what_is_written_is_forced_to_disk_within_five_seconds(tmp_path: Path) -> None:
    synced = threading.Event()

    class Listening(SystemCalls):
        wanted = -1

        def fsync(self, descriptor: int) -> None:
            super().fsync(descriptor)
            if descriptor == self.wanted:
                synced.set()

    calls = Listening()
    spool = spool_in(tmp_path, calls=calls)
    calls.wanted = spool.segments[0].file.descriptor
    spool.append(b"x", 1)
    assert synced.wait(5)
    spool.close(remove=True)


def test_a_spool_whose_process_lives_is_left_alone(tmp_path: Path) -> None:
    spool = spool_in(tmp_path)
    spool.append(b"x", 1)
    (path,) = tmp_path.iterdir()
    assert open_segment(path, LocalFiles()) is None
    assert unsent(tmp_path, LocalFiles()).spools[0].is_live
    spool.close(remove=False)
    ours = open_segment(path, LocalFiles())
    assert ours is not None
    assert open_segment(path, LocalFiles()) is None  # ours now
    os.remove(path)
    ours.close()


def test_a_folder_that_cannot_be_written_costs_points_and_no_training(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "spool").write_text("a file where the folder should be")
    spool = spool_in(tmp_path / "spool")
    assert not spool.append(b"x", 2)
    assert (spool.received, spool.dropped) == (2, 2)
    assert "lost" in capsys.readouterr().err
    spool.close(remove=True)
