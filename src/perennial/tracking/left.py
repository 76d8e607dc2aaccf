"""What processes left in the spool that are gone: sent by whoever comes next, and told meanwhile.

A spool whose process lives is left alone; its lock tells. A run whose process died before its end was killed.
"""

from __future__ import annotations

import time
from pathlib import Path

import msgspec

from perennial.errors import NotFound
from perennial.store.files import Files
from perennial.tracking.delivery import AWAY, TRIES, Delivery
from perennial.tracking.place import Place
from perennial.tracking.segment import HEADER_BYTES, Segment, frames_in, open_segment, read_only, segments_of, spools_in

__all__ = ["Left", "Sent", "Unsent", "send_left", "unsent"]

KILLED = "its process ended before it did"
STALE_S = 3600.0  # a file that was never given its name for so long belongs to nobody


class Left(msgspec.Struct, frozen=True, kw_only=True):
    """One spool. Points: `received = stored + refused + dropped + pending`.

    Attributes:
        is_live: Whether its process goes on; the numbers of such a one are of a moment ago.
        damaged_bytes: What cannot be read, such as half a frame at the end, which no call was told of as kept.
        waiting_bytes: What is not delivered, of any kind.
    """

    run_id: str
    files: list[str]
    is_live: bool
    received: int
    stored: int
    refused: int
    dropped: int
    pending: int
    damaged_bytes: int
    waiting_bytes: int


class Unsent(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that is not delivered in a workspace. `refused_files` hold what the service refused, with why."""

    received: int
    stored: int
    refused: int
    dropped: int
    pending: int
    spools: list[Left]
    refused_files: list[str]


class Sent(msgspec.Struct, frozen=True, kw_only=True):
    """What was done with the spools that were left: `spools` are delivered and gone, `waiting` are still there."""

    spools: int
    stored: int
    refused: int
    live: int
    waiting: int
    problem: str


def send_left(place: Place, *, run_id: str | None = None) -> Sent:
    """Send what dead processes left, of one run or of all; never raises because the service is away."""
    _sweep(place.folder, place.files)
    done = stored = refused = live = waiting = 0
    problem = ""
    for (run, _), paths in spools_in(place.folder).items():
        if run_id not in (None, run):
            continue
        try:
            segments = segments_of(paths, place.files)
        except (OSError, ValueError) as error:
            problem, waiting = str(error), waiting + 1
            continue
        if segments is None:
            live += 1
            continue
        delivery = place.delivery(run, paths[0])
        before = segments[0].header() if segments else None
        try:
            _send(place, delivery, segments, run)
            done += 1
        except (*AWAY, ValueError) as error:
            problem, waiting = getattr(error, "what", str(error)), waiting + 1
        except Exception as error:  # noqa: BLE001  # a boundary: told, and tried again by whoever comes next
            problem, waiting = f"{type(error).__name__}: {error}", waiting + 1
        finally:
            for segment in segments:
                segment.close()
        stored += max(0, delivery.stored - (before.stored if before else 0))
        refused += max(0, delivery.refused - (before.refused if before else 0))
    return Sent(spools=done, stored=stored, refused=refused, live=live, waiting=waiting, problem=problem)


def unsent(folder: Path, files: Files) -> Unsent:
    """What lies in the spool of a workspace; needs no owner and changes nothing."""
    found = [told for (run, _), paths in spools_in(folder).items() if (told := _left(run, paths, files)) is not None]
    return Unsent(
        received=sum(left.received for left in found),
        stored=sum(left.stored for left in found),
        refused=sum(left.refused for left in found),
        dropped=sum(left.dropped for left in found),
        pending=sum(left.pending for left in found),
        spools=found,
        refused_files=[str(path) for path in sorted(folder.glob("*.refused"))],
    )


def _send(place: Place, delivery: Delivery, segments: list[Segment], run: str) -> None:
    is_owner = any(segment.header().is_owner for segment in segments)
    for segment in segments:
        _deliver(delivery, segment)
    if is_owner and not delivery.has_ended and not _goes_on(place, run, segments):
        _end(place, run)
    for segment in segments:  # in order, so that what is left of a spool is its end
        place.files.remove(segment.path)


def _deliver(delivery: Delivery, segment: Segment) -> None:
    for attempt in range(TRIES):  # what fails for a reason that should not be is set aside in the end
        try:
            delivery.deliver(segment, segment.size)
            return
        except AWAY:
            raise
        except Exception:  # the last one is told
            if attempt == TRIES - 1:
                raise


def _goes_on(place: Place, run: str, segments: list[Segment]) -> bool:
    """Whether another process logs to this run now, for example the same training, started again."""
    ours = {segment.path for segment in segments}
    for (other, _), paths in spools_in(place.folder).items():
        if other == run and not ours & set(paths) and _is_live(paths[-1], place.files):
            return True
    return False


def _end(place: Place, run: str) -> None:
    service = place.service()
    try:
        if service.get(run_id=run).status == "running":
            service.finish(run_id=run, status="killed", error=KILLED)
    except NotFound:
        return  # deleted for good meanwhile


def _is_live(path: Path, files: Files) -> bool:
    segment = open_segment(path, files)
    if segment is None:
        return path.exists()
    segment.close()
    return False


def _left(run: str, paths: list[Path], files: Files) -> Left | None:
    points = stored = refused = dropped = pending = damaged = waiting = 0
    before: int | None = None
    for path in paths:
        try:
            segment = read_only(path)
        except OSError:
            continue  # delivered meanwhile
        try:
            header = segment.header()
            before = header.before if before is None else before
            stored, refused = max(stored, header.stored), max(refused, header.refused)
            dropped = max(dropped, header.dropped)
            waiting += segment.size - header.acked
            at = HEADER_BYTES
            for frame in frames_in(segment, HEADER_BYTES, segment.size):
                points += frame.points
                pending += frame.points if frame.end > header.acked else 0
                damaged += frame.end - at if frame.payload is None else 0
                at = frame.end
        except ValueError:
            damaged += segment.size
        finally:
            segment.close()
    if before is None:
        return None
    return Left(
        run_id=run,
        files=[path.name for path in paths],
        is_live=_is_live(paths[-1], files),
        received=before + points + dropped,
        stored=stored,
        refused=refused,
        dropped=dropped,
        pending=pending,
        damaged_bytes=damaged,
        waiting_bytes=waiting,
    )


def _sweep(folder: Path, files: Files) -> None:
    """Files of processes that died before they gave them their name hold nothing."""
    for path in folder.glob("*.spool.new"):
        try:
            if time.time() - path.stat().st_mtime > STALE_S:
                files.remove(path)
        except FileNotFoundError:
            continue
