"""What of a request is written down: each column as its policy says, applied before a frame is made.

    keep   as it came.
    hash   a keyed BLAKE2b-128 of the value, 32 hex characters. The same value gives the same text in the whole
           workspace, so rows of one person can be counted, joined, labelled by key and found to be erased; without the
           workspace's secret the value cannot be found by trying all there are.
    mask   the kind of value and, of text, how long it is to a power of two: "<number>", "<text 8-15>".
    drop   nothing.

A missing value stays missing under every policy. What is not kept is never written by the prediction service, neither
in a row nor in what a guard or a model says of it; it cannot be brought back, so such a column is left out where later
rows are compared with those of training. The model itself is always given the true value.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, get_args

import msgspec

from perennial.errors import Corrupt, Invalid
from perennial.serve.answer import Flag
from perennial.store.files import Files, store_error

__all__ = ["KEY_FILE", "Policy", "Privacy", "hashed", "masked", "workspace_secret"]

Policy = Literal["keep", "mask", "hash", "drop"]
POLICIES: tuple[str, ...] = get_args(Policy)
KEY_FILE = "privacy.key"
_KEY_BYTES = 32
_HASH_BYTES = 16
_encode = msgspec.json.Encoder(order="deterministic").encode


class Privacy:
    """The policy of one endpoint. Made once for each layout; safe for concurrent use.

    Attributes:
        policy: The columns that are not kept, for `Layout.policy`.
    """

    def __init__(self, names: Sequence[str], policy: Mapping[str, str], *, key: str | None, secret: bytes) -> None:
        """`names` are the columns of the rows, `key` the one that names the entity.

        Raises:
            Invalid: An unknown column or policy.
        """
        for name, told in policy.items():
            if name not in names:
                raise Invalid(f"there is no column {name!r} to {told}", where="capture", remedy=", ".join(names))
            if told not in POLICIES:
                raise Invalid(f"{name!r} cannot be {told!r}", where="capture", remedy=f"one of {', '.join(POLICIES)}")
        self.policy = {name: told for name, told in policy.items() if told != "keep"}
        self._changes = [(names.index(name), _change(told, secret)) for name, told in self.policy.items()]
        self._key = key
        self._secret = secret

    def rows(self, rows: Sequence[Sequence[Any]]) -> Sequence[Sequence[Any]]:
        """These rows as they may be written; the very same ones where everything is kept."""
        if not self._changes:
            return rows
        written: list[list[Any]] = []
        for row in rows:
            values = list(row)
            for at, change in self._changes:
                if values[at] is not None:
                    values[at] = change(values[at])
            written.append(values)
        return written

    def flags(self, flags: list[list[Flag]] | None) -> list[list[Flag]] | None:
        """Guards that fired, without their words about columns that are not kept."""
        if not self._changes or flags is None:
            return flags
        return [[self._flag(flag) for flag in of_row] for of_row in flags]

    def _flag(self, flag: Flag) -> Flag:
        if flag.says and (flag.column is None or flag.column in self.policy):
            return msgspec.structs.replace(flag, says="")
        return flag

    def error(self, says: str | None) -> str | None:
        """Why a model failed: of an endpoint that keeps columns back the kind of error alone, since it may quote."""
        return says.partition(":")[0][:100] if self._changes and says else says

    def errors(self, errors: list[str | None] | None) -> list[str | None] | None:
        return [self.error(says) for says in errors] if self._changes and errors else errors

    def digest(self, request: str) -> str:
        """What stands for a request, given its digest: of an endpoint that keeps columns back not to be found by trying
        all values that such a column could have had."""
        return hashed(request, self._secret) if self._changes and request else request

    def entity(self, value: Any) -> str:
        """The key of an entity as text, as it lies in the rows of this endpoint: for feedback by own key.

        Raises:
            Invalid: The endpoint keeps no key by which a prediction could be found.
        """
        told = self.policy.get(self._key or "", "keep")
        if self._key is None or told in ("mask", "drop"):
            what = (
                "this endpoint has no key column" if self._key is None else f"the key column {self._key!r} is not kept"
            )
            raise Invalid(what, where="entity", remedy="send the prediction's id")
        return _text(hashed(value, self._secret) if told == "hash" else value)


def hashed(value: Any, secret: bytes) -> str:
    """What stands for a value, of whichever column and endpoint; 3 and 3.0 are the same one.

    >>> hashed(3, bytes(32)) == hashed(3.0, bytes(32)), len(hashed("a@example.org", bytes(32)))
    (True, 32)
    """
    return hashlib.blake2b(_text(value).encode(), digest_size=_HASH_BYTES, key=secret).hexdigest()


def masked(value: Any) -> str:
    """The kind of a value.

    >>> masked("a@example.org"), masked(7.5), masked(""), masked(True), masked([1, 2])
    ('<text 8-15>', '<number>', '<text 0>', '<true or false>', '<list>')
    """
    if isinstance(value, str):
        bits = len(value).bit_length()
        low, high = (1 << bits) >> 1, (1 << bits) - 1
        return f"<text {low}-{high}>" if high > low else f"<text {len(value)}>"
    if isinstance(value, bool):
        return "<true or false>"
    return "<number>" if isinstance(value, int | float) else "<list>"


def workspace_secret(serving: Path, files: Files) -> bytes:
    """The key of this workspace's hashes, 32 bytes in a file that its user alone may read; made on first use.

    Whoever has it can try values; whoever loses it can no longer join new rows to old ones. Of processes that make it
    at once, all get the same one.

    Raises:
        StoreError: It cannot be written.
        Corrupt: The file is not what was written.
    """
    path = serving / KEY_FILE
    if not path.exists():
        temporary = path.with_name(f".{path.name}.{secrets.token_hex(6)}.tmp")
        try:
            files.mkdirs(serving)
            with files.append(temporary, exclusive=True, mode=0o600) as file:
                file.write(secrets.token_bytes(_KEY_BYTES))
                file.fsync()
            files.link(temporary, path)
            files.sync_folder(serving)
        except OSError as error:
            raise store_error("the key of hashed columns could not be written", error, path) from error
        finally:
            files.discard(temporary)
    secret = path.read_bytes()
    if len(secret) != _KEY_BYTES:
        raise Corrupt("this is not the key of hashed columns", where=str(path), remedy="bring it back from a backup")
    return secret


def _change(told: str, secret: bytes) -> Callable[[Any], Any]:
    if told == "hash":
        return lambda value: hashed(value, secret)
    return masked if told == "mask" else lambda _value: None


def _text(value: Any) -> str:
    """A value as JSON, a whole number without a fraction: the same as in the stored tables."""
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        value = int(value)
    return _encode(value).decode()
