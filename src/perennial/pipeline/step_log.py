"""What a step prints and logs, kept as its log and shown as it comes, with secrets masked."""

from __future__ import annotations

import base64
import io
import json
import logging
import sys
import urllib.parse
from collections import deque
from collections.abc import Iterable
from contextlib import ExitStack, redirect_stderr, redirect_stdout
from types import TracebackType
from typing import TextIO

__all__ = ["Mask", "StepLog"]

MAX_LINES = 20_000  # kept of one step: the first and the last half; how many were left out is said
_STARS = "***"


class Mask:
    """Replaces secrets in text, also in the forms in which they are usually printed: quoted (URL, JSON), base64."""

    def __init__(self, secrets: Iterable[str]) -> None:
        forms = {form for secret in secrets if secret for form in _forms(secret)}
        self._forms = sorted(forms, key=lambda form: (-len(form), form))

    def __call__(self, text: str) -> str:
        for form in self._forms:
            text = text.replace(form, _STARS)
        return text


def _forms(secret: str) -> Iterable[str]:
    yield secret
    yield from (line for line in secret.splitlines() if len(line) >= 8)  # a key of many lines comes out line by line
    yield urllib.parse.quote(secret, safe="")
    yield urllib.parse.quote_plus(secret)
    yield json.dumps(secret)[1:-1]
    yield repr(secret)[1:-1]
    # Within other text base64 has one of three alignments; what its neighbours do not touch is looked for.
    for shift in range(3):
        for encode in (base64.b64encode, base64.urlsafe_b64encode):
            text = encode(b"\0" * shift + secret.encode()).decode().rstrip("=")
            inner = text[(0, 2, 3)[shift] : len(text) - (1 if (shift + len(secret.encode())) % 3 else 0)]
            if len(inner) >= 8:
                yield inner


class StepLog:
    """Captures stdout, stderr and logging of this process while it is entered; passes them on, line by line.

    What libraries write in C, past Python's streams, goes to the terminal only.
    """

    def __init__(self, mask: Mask, *, max_lines: int = MAX_LINES) -> None:
        self._mask = mask
        self._half = max_lines // 2
        self._first: list[str] = []
        self._last: deque[str] = deque(maxlen=self._half)
        self._count = 0
        self._stack = ExitStack()
        self._tees: list[_Tee] = []

    def __enter__(self) -> StepLog:
        out, err = _Tee(self, sys.stdout), _Tee(self, sys.stderr)
        self._tees = [out, err]
        self._stack.enter_context(redirect_stdout(out))
        self._stack.enter_context(redirect_stderr(err))
        handler = logging.StreamHandler(err)
        handler.setFormatter(logging.Formatter("%(levelname)s %(name)s: %(message)s"))
        root = logging.getLogger()
        root.addHandler(handler)
        self._stack.callback(root.removeHandler, handler)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()
        for tee in self._tees:
            tee.finish()

    def add(self, text: str) -> str:
        """Append lines; gives them masked."""
        masked = self._mask(text)
        for line in masked.splitlines(keepends=True):
            self._count += 1
            (self._first if len(self._first) < self._half else self._last).append(line)
        return masked

    def data(self) -> bytes:
        """The log so far."""
        left_out = self._count - len(self._first) - len(self._last)
        gap = [f"... {left_out} lines left out ...\n"] if left_out else []
        return self._mask("".join([*self._first, *gap, *self._last])).encode("utf-8", "backslashreplace")


class _Tee(io.TextIOBase):
    """A stream that holds text back to the end of its line, so that no secret is cut in two."""

    def __init__(self, log: StepLog, terminal: TextIO) -> None:
        self._log = log
        self._terminal = terminal
        self._line = ""

    def write(self, text: str, /) -> int:
        whole, newline, rest = (self._line + text).rpartition("\n")
        if not newline:
            whole, newline, rest = rest.rpartition("\r")  # a progress bar
        self._line = rest
        if newline:
            self._terminal.write(self._log.add(whole + newline))
        return len(text)

    def finish(self) -> None:
        if self._line:
            line, self._line = self._line + "\n", ""
            self._terminal.write(self._log.add(line))
        self._terminal.flush()

    def flush(self) -> None:
        self._terminal.flush()

    def isatty(self) -> bool:
        return False

    def writable(self) -> bool:
        return True
