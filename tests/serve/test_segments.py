"""Segments: what was written is read back, what is half-written or damaged is told apart."""

from __future__ import annotations

from pathlib import Path

import pytest

from perennial.errors import Corrupt, StoreError
from perennial.serve.segments import (
    MAGIC,
    ROTATE_BYTES,
    Place,
    SegmentWriter,
    next_frames,
    read_frame,
    segments_in,
    tail_bytes,
)
from perennial.store.files import LocalFiles, SystemCalls
from perennial.types import Micros


def write(folder: Path, *payloads: bytes) -> Path:
    writer = SegmentWriter(folder, LocalFiles())
    for payload in payloads:
        writer.append(payload)
    writer.close()
    return segments_in(folder)[-1]


def payloads(path: Path) -> list[bytes | None]:
    return [framed.payload for framed in next_frames(path)]


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
    with pytest.raises(Corrupt):
        read_frame(Place(path, [framed.start for framed in next_frames(path)][1]))


def test_zeros_after_a_power_cut_are_a_cut_tail(tmp_path: Path) -> None:
    path = write(tmp_path, b"first")
    path.write_bytes(path.read_bytes() + bytes(4096))
    assert payloads(path) == [b"first"]


def test_each_writer_has_a_segment_of_its_own_and_greater_ids(tmp_path: Path) -> None:
    one, two = SegmentWriter(tmp_path, LocalFiles()), SegmentWriter(tmp_path, LocalFiles())
    now = Micros(1_700_000_000_000_000)
    ids = [one.issue(3, now), one.issue(1, Micros(now - 5_000_000)), two.issue(1, now)]
    assert ids == sorted(ids)
    assert len(set(ids)) == 3
    assert all(len(made) == 26 for made in ids)
    assert len(segments_in(tmp_path)) == 2
    one.close()
    two.close()


def test_a_full_segment_is_followed_by_the_next_one(tmp_path: Path) -> None:
    writer = SegmentWriter(tmp_path, LocalFiles())
    big = bytes(ROTATE_BYTES)
    places = [writer.append(big), writer.append(b"after"), writer.append(b"more")]
    writer.close()
    assert [place.path.name for place in places] == ["000001.seg", "000002.seg", "000002.seg"]
    assert read_frame(places[1]) == b"after"


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


def test_a_full_disk_leaves_the_segment_as_it_was(tmp_path: Path) -> None:
    writer = SegmentWriter(tmp_path, LocalFiles(HalfWrites()))
    writer.append(b"small")
    with pytest.raises(StoreError, match="the disk is full"):
        writer.append(bytes(200))
    writer.append(b"small again")
    writer.close()
    assert payloads(segments_in(tmp_path)[0]) == [b"small", b"small again"]
