"""Send a logged file: verified bytes, as an attachment that no browser runs.

The last piece is sent only when all bytes are known to be what was stored; when they are not, the connection breaks
before the length that was announced, so that nobody takes a damaged file for a whole one.
"""

from __future__ import annotations

import logging
import mimetypes
import re
from collections.abc import Iterator
from urllib.parse import quote

from starlette.concurrency import run_in_threadpool
from starlette.responses import Response, StreamingResponse

from perennial.errors import PerennialError
from perennial.tracking.tree import File

__all__ = ["media_type", "send"]

_log = logging.getLogger("perennial.api.mlflow")
_TOKEN = re.compile(r"[A-Za-z0-9!#$&+.^_`|~-]+")  # what may stand in a header without quotes
_TYPES = mimetypes.MimeTypes()  # the library's own table: not what happens to be installed here

# Files that MLflow's clients expect as plain text, whatever else they may be.
_TEXT = frozenset(
    (
        *("MLmodel", "MLproject", "mlproject", "cf", "cfg", "cnf", "conf", "csv", "err", "hocon", "ini", "js", "json"),
        *("log", "md", "prop", "properties", "py", "py3", "rst", "toml", "tsv", "txt", "xml", "yaml", "yml"),
    )
)


class _BrokenOff(RuntimeError):
    """The bytes turned out to be wrong after the answer had begun: the server cuts the connection."""


async def send(file: File, blocks: Iterator[bytes]) -> Response:
    """The answer that carries this file; `blocks` are its verified bytes.

    Raises:
        PerennialError: What the first piece raises: a small file is verified before anything is sent.
    """
    first = await run_in_threadpool(next, blocks, b"")

    def pieces() -> Iterator[bytes]:
        yield first
        try:
            yield from blocks
        except PerennialError as error:
            raise _BrokenOff(f"{file.path}: {error}") from error

    name = file.path.rpartition("/")[2]
    headers = {
        "content-type": media_type(name),
        "content-length": str(file.size),
        "content-disposition": _attachment(name),
        "content-security-policy": "sandbox; default-src 'none'",
        "x-content-type-options": "nosniff",
    }
    return StreamingResponse(pieces(), headers=headers)


def media_type(name: str) -> str:
    """The type of a file of this name."""
    ending = name.rpartition(".")[2]  # the whole name when there is no dot
    return "text/plain" if ending in _TEXT else _TYPES.guess_type(name)[0] or "application/octet-stream"


def _attachment(name: str) -> str:
    if _TOKEN.fullmatch(name):
        return f"attachment; filename={name}"
    plain = "".join(letter if " " <= letter <= "~" and letter != '"' else "_" for letter in name)
    other = "" if plain == name else f"; filename*=UTF-8''{quote(name, safe='')}"
    return f'attachment; filename="{plain}"{other}'
