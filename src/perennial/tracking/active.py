"""A run that goes on in this process: what is logged to it is safe when the call returns, and is sent beside it.

    with ws.runs.start("salary", params={"depth": 3}) as run:
        for step in range(1000):
            run.log(loss=0.5, acc=0.9, step=step)

A call appends to a spool file (`spool`) and never waits for a server; a thread of its own sends (`sender`). Training
never fails because of tracking: only what the caller got wrong, such as the name of a metric, raises.
"""

from __future__ import annotations

import atexit
import os
import sys
import threading
from collections.abc import Callable, Mapping
from itertools import count, islice
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, NamedTuple
from weakref import WeakSet

from perennial.errors import Invalid, NotFound
from perennial.store.hashing import digest_of
from perennial.tracking.current import enter, leave
from perennial.tracking.delivery import AWAY
from perennial.tracking.frames import Ended, File, Params, Started, Tags, encode, encode_points
from perennial.tracking.left import send_left
from perennial.tracking.names import MAX_ERROR, MAX_PARAM, MAX_TAG
from perennial.tracking.place import Place
from perennial.tracking.rendering import figure_bytes, table_bytes
from perennial.tracking.run import Run, RunStatus
from perennial.tracking.sender import Sender
from perennial.tracking.spool import Spool, complain
from perennial.tracking.system_metrics import SystemMetrics
from perennial.tracking.tree import checked
from perennial.tracking.values import batches, checked_name, checked_step, number, texts
from perennial.types import RunId

if TYPE_CHECKING:
    from typing import Self

__all__ = ["ActiveRun", "Counts"]

WAIT_S = 10.0  # at the end, as long as nothing moves
SMALL_FILE_BYTES = 64 << 10  # goes through the spool; what is larger goes straight to the object store
MAX_FRAME_POINTS = 1_000
DROPPED_TAG = "points_dropped"


class Counts(NamedTuple):
    """Points that this process logged: `received = stored + refused + dropped + pending`."""

    received: int
    stored: int
    refused: int
    dropped: int
    pending: int


class ActiveRun:
    """Logs to one run. Safe for concurrent use, by many threads and by forked children. A context manager.

    The fields of the run as it was begun, such as `name` and `started`, are here too, once the owner has answered.
    """

    def __init__(
        self,
        place: Place,
        run_id: str,
        *,
        is_owner: bool = False,
        before: Callable[[], None] | None = None,
        about: Callable[[], tuple[dict[str, Any], dict[str, str]]] | None = None,
        system_every_s: float = 0.0,
        wait_s: float = WAIT_S,
    ) -> None:
        """
        Args:
            place: The workspace.
            run_id: Of a run that exists, or that `begin` makes.
            is_owner: Whether the end of this one is the end of the run.
            before: Done before the first frame is laid down.
            about: What to add to the run's beginning and its tags; asked for on the sender's thread.
            system_every_s: How often the machine is measured; 0 for never.
            wait_s: How long the end waits while nothing moves.
        """
        self.id = RunId(run_id)
        self._place = place
        self._record: Run | None = None
        self._is_owner = is_owner
        self._before = before
        self._about = about
        self._wait_s = wait_s
        self._system_every_s = system_every_s
        self._lock = threading.RLock()
        self._calls = count()
        self._names: set[str] = set()
        self._params: dict[str, str] = {}
        self._spool: Spool | None = None
        self._open: Spool | None = None  # the same, until the run ends
        self._sender: Sender | None = None
        self._system: SystemMetrics | None = None
        self._is_child = self._is_ending = self._is_ended = False
        self._looked = threading.Event()
        self._now = place.clock.now
        _all.add(self)

    # what is logged

    def log(self, metrics: Mapping[str, Any] | None = None, /, *, step: int | None = None, **named: Any) -> None:
        """Log values of metrics, as keywords or, for names such as "val/loss", as a mapping.

        It is kept when the call returns, also if the process is killed right after, and sent soon.

        Args:
            metrics: Name -> float, int, numpy scalar or a tensor of one number; NaN and infinities are kept.
            step: By default how many times `log` was called before, for this run in this process.
            named: More metrics.

        Raises:
            Invalid: A name, value or step that cannot be logged, which it names; nothing is logged then. Or the run has
                ended.
        """
        if metrics is None:
            values: dict[str, Any] = named
        else:
            values = {**metrics, **named}
        for value in values.values():
            if value.__class__ is not float:
                values = {key: number(key, value) for key, value in values.items()}
                break
        if not self._names.issuperset(values):
            self._names.update([checked_name("metric", key) for key in values])
        if step is None:
            step = next(self._calls)
        else:
            if step.__class__ is not int or not -(2**63) <= step < 2**63:
                step = checked_step(step)
            next(self._calls)
        spool = self._open or self._begin()
        if len(values) <= MAX_FRAME_POINTS:
            spool.append(encode_points(self._now(), step, values), len(values))
        else:
            self._append_many(spool, values, step)

    def log_params(self, params: Mapping[str, Any] | None = None, /, **named: Any) -> None:
        """Log parameters, each once; values that are no texts are written as JSON, nested mappings with dots.

        Raises:
            Invalid: A name or value that cannot be stored, or the parameter has another value already; nothing is
                logged then.
        """
        given = texts({**(params or {}), **named})
        pieces = list(batches("parameter", given, MAX_PARAM))
        with self._lock:
            for key, value in given.items():
                if self._params.get(key, value) != value:
                    says = f"parameter {key!r} of run {self.id} is {self._params[key]!r} already"
                    raise Invalid(says, remedy="parameters are written once; use a tag for what changes")
            self._params |= given
        for piece in pieces:
            self._append(encode(Params(piece)))

    def set_tags(self, tags: Mapping[str, Any] | None = None, /, **named: Any) -> None:
        """Set tags; one that is there is replaced.

        Raises:
            Invalid: A name or value that cannot be stored; no tag is set then.
        """
        for piece in list(batches("tag", texts({**(tags or {}), **named}), MAX_TAG)):
            self._append(encode(Tags(piece)))

    def log_file(self, source: str | os.PathLike[str], path: str = "") -> None:
        """Log a file as it is now, under its own name or as `path`, such as "plots/roc.svg".

        Raises:
            NotFound: There is no such file. Invalid: It cannot have this path. StoreError: It could not be stored.
        """
        file = Path(source)
        if not file.is_file():
            raise NotFound("there is no such file", where=str(file))
        if file.stat().st_size <= SMALL_FILE_BYTES:
            self.log_bytes(file.read_bytes(), path or file.name)
            return
        name = checked(path or file.name)
        digest = self._place.objects.put_file(file)
        self._append(encode(File(name, digest, self._place.objects.size(digest))))

    def log_bytes(self, data: bytes, path: str) -> None:
        """Log bytes as the file `path`.

        Raises:
            Invalid: It cannot have this path. StoreError: It could not be stored.
        """
        name = checked(path)
        if len(data) <= SMALL_FILE_BYTES:
            self._append(encode(File(name, digest_of(data), len(data), data)))
        else:
            self._append(encode(File(name, self._place.objects.put(data), len(data))))

    def log_text(self, text: str, path: str = "text.txt") -> None:
        """Log a text as the file `path`, in UTF-8. Raises as `log_bytes`."""
        self.log_bytes(text.encode(errors="surrogatepass"), path)

    def log_figure(self, figure: Any, path: str = "figure.png") -> None:
        """Log a picture of matplotlib, Altair, plotly or Pillow; `path` ends in its format, for example .svg or .html.

        Raises:
            Invalid: It is no picture of a library that is known, or not in this format.
        """
        self.log_bytes(figure_bytes(figure, path), path)

    def log_table(self, frame: Any, path: str = "table.parquet") -> None:
        """Log a table of polars, pandas or pyarrow, or a mapping of columns, as Parquet, CSV or JSON, as `path` ends.

        Raises:
            Invalid: It is no table, or not of one of these formats.
        """
        self.log_bytes(table_bytes(frame, path), path)

    # its life

    def flush(self, timeout_s: float = 60.0) -> bool:
        """Wait until the service has all that was logged so far; False when that took longer."""
        sender = self._sender
        return self._spool is None or (sender is not None and sender.flush(timeout_s=timeout_s))

    def finish(self, status: RunStatus = "finished", error: str | None = None) -> None:
        """End the run: send the rest, wait for that while it moves, and tell on standard error what could not be sent.

        Leaving a `with` block does this; the status is then "failed" with the text of the error that was raised in it,
        or "killed" when somebody interrupted it.
        """
        with self._lock:
            if self._is_ending:
                return
            self._is_ending = True
            if self._is_owner and self._spool is None:
                self._begin()
            system, has_sender = self._system, self._sender is not None
        if system is not None:
            system.stop()
        if self._about is not None and has_sender:
            self._looked.wait(self._wait_s)  # it belongs before the end
        with self._lock:
            self._is_ended, self._open = True, None
            spool = self._spool
        if spool is None:
            return
        if spool.dropped:
            spool.append(encode(Tags({DROPPED_TAG: str(spool.dropped)})), is_capped=False)
        if self._is_owner:
            told = None if error is None else _storable(error)
            spool.append(encode(Ended(status, told, self._place.clock.now())), is_capped=False)
        self._send_rest(spool)

    def settle(self) -> None:
        """Send what was logged so far and go on without a sender, because its workspace closes here."""
        with self._lock:
            sender, self._sender = self._sender, None
        if sender is not None:
            sender.flush(timeout_s=threading.TIMEOUT_MAX, patience_s=self._wait_s)
            sender.stop(timeout_s=self._wait_s)

    @property
    def counts(self) -> Counts:
        """How far the points of this process have come."""
        spool, sender = self._spool, self._sender
        if spool is None:
            return Counts(0, 0, 0, 0, 0)
        stored, refused = (sender.delivery.stored, sender.delivery.refused) if sender else (0, 0)
        return Counts(spool.received, stored, refused, spool.dropped, spool.written - stored - refused)

    def __enter__(self) -> Self:
        enter(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        leave(self)
        if value is None:
            self.finish()
        else:
            self.finish(*_ending(value))

    def __getattr__(self, name: str) -> Any:
        record: Run | None = self.__dict__.get("_record")
        if record is not None and name in record.__struct_fields__:
            return getattr(record, name)
        raise AttributeError(f"an active run has no {name!r}")

    def __repr__(self) -> str:
        return f"<ActiveRun {self.id}{' ended' if self._is_ended else ''}>"

    # below the surface

    def begin(self, arguments: dict[str, Any]) -> None:
        """Let the service begin the run, given this; while it is away the first frame will do it.

        Raises:
            PerennialError: The service refuses it. Then nothing is left of it.
        """
        spool = self._made_spool()  # before the run is there, so that nobody takes it for one whose process is gone
        try:
            self._record = self._place.service().start(run_id=self.id, **arguments)
        except AWAY:
            spool.append(encode(Started(arguments)), is_capped=False)
        except BaseException:
            spool.close(remove=True)
            self._is_ending = self._is_ended = True
            raise
        with self._lock:
            self._send_from(spool)

    def _append(self, payload: bytes) -> None:
        (self._open or self._begin()).append(payload, is_capped=False)

    def _append_many(self, spool: Spool, values: dict[str, float], step: int) -> None:
        now, pairs = self._now(), iter(values.items())
        while piece := dict(islice(pairs, MAX_FRAME_POINTS)):
            spool.append(encode_points(now, step, piece), len(piece))

    def _begin(self) -> Spool:
        with self._lock:
            if self._open is not None:
                return self._open
            if self._is_ended:
                raise Invalid(f"run {self.id} has ended here", remedy="log before the end of its block")
            if self._before is not None:
                self._before()
            return self._send_from(self._made_spool())

    def _made_spool(self) -> Spool:
        place, is_owner = self._place, self._is_owner and not self._is_child
        return Spool(place.folder, self.id, is_owner=is_owner, cap_bytes=place.cap_bytes, files=place.files)

    def _send_from(self, spool: Spool) -> Spool:
        """From here on the run is logged to through this spool."""
        place = self._place
        if not self._is_child or place.is_remote:
            delivery = place.delivery(self.id, place.folder / f"{self.id}.{spool.token}.spool")
            self._sender = Sender(spool, delivery, lambda: self._look_around(spool))
        self._spool = self._open = spool
        if self._system_every_s and not self._is_child:
            self._system = SystemMetrics(self._measured, every_s=self._system_every_s)
        return spool

    def _measured(self, values: dict[str, float], step: int) -> None:
        spool = self._open
        if spool is not None:
            spool.append(encode_points(self._now(), step, values), len(values))

    def _look_around(self, spool: Spool) -> None:
        if self._about is None or self._is_child:
            return
        try:
            arguments, tags = self._about()
            with self._lock:
                if not self._is_ended:
                    spool.append(encode(Started(arguments)), is_capped=False)
                    spool.append(encode(Tags(tags)), is_capped=False)
        except Exception as error:  # noqa: BLE001  # the boundary of the thread: a run without these is still one
            complain(f"run {self.id}: nothing is known of its code and machine: {error}")
        finally:
            self._looked.set()

    def _send_rest(self, spool: Spool) -> None:
        sender = self._sender
        is_sent = False
        try:
            if sender is not None:
                is_sent = sender.flush(timeout_s=threading.TIMEOUT_MAX, patience_s=self._wait_s)
                if not self._is_child:  # what workers of ours left
                    send_left(self._place, run_id=self.id)
        finally:
            if sender is not None:
                sender.stop(timeout_s=self._wait_s if is_sent else 0.1)
            spool.close(remove=is_sent)
            if not is_sent and not self._is_child:
                self._tell_unsent(sender)

    def _tell_unsent(self, sender: Sender | None) -> None:
        counts = self.counts
        why = f" ({sender.problem})" if sender is not None and sender.problem else ""
        complain(
            f"run {self.id}: {counts.pending:,} points are not sent yet{why}; they are kept in {self._place.folder}\n"
            "  to send them: perennial runs send   (the next run in this workspace and `perennial up` do it as well)"
        )

    def _forked(self) -> None:
        """In a child: a spool of its own from the next call on."""
        self._lock = threading.RLock()
        if self._spool is not None:
            self._spool.forget()
        self._spool = self._open = self._sender = self._system = None
        self._is_child, self._is_owner = True, False

    def _at_exit(self) -> None:
        if not self._is_ended and self._spool is not None:
            error = getattr(sys, "last_value", None)
            self.finish(*(_ending(error) if error is not None else ("finished", None)))


_all: WeakSet[ActiveRun] = WeakSet()


def _after_fork() -> None:
    for run in list(_all):
        run._forked()  # pyright: ignore[reportPrivateUsage]  # noqa: SLF001  its own module


os.register_at_fork(after_in_child=_after_fork)


def _finish_all() -> None:
    for run in list(_all):
        run._at_exit()  # pyright: ignore[reportPrivateUsage]  # noqa: SLF001  its own module


atexit.register(_finish_all)


def _ending(error: BaseException) -> tuple[RunStatus, str]:
    status: RunStatus = "killed" if isinstance(error, KeyboardInterrupt) else "failed"
    return status, f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


def _storable(text: str) -> str:
    return text.replace("\0", " ").encode(errors="replace").decode()[:MAX_ERROR]
