"""Labels that clients send to the service: `POST /feedback/{endpoint}`.

`{"labels": [{"id": PREDICTION, "label": VALUE}, {"entity": KEY, "label": VALUE}]}`, or one such object. The service
knows no database, so it writes them down beside the predictions; the owner joins them, whatever order they come in.
"""

from __future__ import annotations

import re
from os import urandom
from typing import Annotated

import msgspec
from msgspec import Meta

from perennial.errors import Invalid
from perennial.serve.frames import Fed
from perennial.serve.privacy import Privacy
from perennial.serve.route import Route
from perennial.store.decoding import ready

__all__ = ["feedback_of"]

MAX_LABELS = 10_000
_ID = re.compile(r"[0-9a-f]{26}")
_Text = Annotated[str, Meta(max_length=10_000)]
_REMEDY = 'send {"labels": [{"id": ..., "label": ...}]}'


class _Label(msgspec.Struct, forbid_unknown_fields=True):
    label: bool | int | float | _Text
    id: str | None = None
    entity: int | float | _Text | None = None


class _Labels(msgspec.Struct, forbid_unknown_fields=True):
    labels: Annotated[list[_Label], Meta(min_length=1, max_length=MAX_LABELS)]


_many = msgspec.json.Decoder(ready(_Labels))
_one = msgspec.json.Decoder(ready(_Label))


def feedback_of(body: bytes, route: Route, *, key: str) -> list[Fed]:
    """The frames of these labels; `key` makes a repetition the same ones, "" makes one up.

    Raises:
        Invalid: No labels; `where` points at what is wrong.
    """
    try:
        labels = _many.decode(body).labels if b'"labels"' in body else [_one.decode(body)]
    except msgspec.ValidationError as error:
        reason, _, path = str(error).partition(" - at `$")
        raise Invalid(reason, where=path.rstrip("`").lstrip(".") or "labels", remedy=_REMEDY) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Invalid(f"the body is not JSON: {error}", remedy=_REMEDY) from None
    privacy = route.privacy or Privacy(route.intake.names, {}, key=route.intake.signature.key, secret=b"")
    key = key or urandom(8).hex()
    frames: list[Fed] = []
    for at, label in enumerate(labels):
        where = f"labels[{at}]"
        if (label.id is None) == (label.entity is None):
            raise Invalid("a label has either an id or an entity", where=where, remedy=_REMEDY)
        if label.id is not None and not _ID.fullmatch(label.id):
            raise Invalid(
                f"{label.id!r} is no id of a prediction", where=f"{where}.id", remedy="use the id it came with"
            )
        if isinstance(label.label, float) and label.label - label.label != 0.0:
            raise Invalid("a number is out of range", where=f"{where}.label", remedy="send a finite number")
        entity = None if label.entity is None else privacy.entity(label.entity)
        frames.append(
            Fed(endpoint=route.name, at=0, key=f"{key}-{at}", value=label.label, prediction=label.id, entity=entity)
        )
    return frames
