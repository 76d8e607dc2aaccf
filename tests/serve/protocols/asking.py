"""A signature of real columns (the wages of 1985), the intake of it, and requests made by hand."""

from __future__ import annotations

import random
from typing import Any

from perennial.models.signature import Field, Signature
from perennial.serve.answer import Answer, Flag
from perennial.serve.asked import Asked
from perennial.serve.intake import Intake
from perennial.serve.protocols.protocol import HttpRequest

REGIONS = ["other", "south"]
ROW: dict[str, Any] = {"education": 12, "wage_before": 4.95, "region": "south", "union": True, "hired": "1984-05-01"}

WAGES = Signature(
    inputs=[
        Field(name="education", type="int64"),
        Field(name="wage_before", type="float64", nullable=True),
        Field(name="region", type="string", categories=REGIONS),
        Field(name="union", type="bool"),
        Field(name="hired", type="date", nullable=True),
        Field(name="person", type="string", required=False),
    ],
    columns=[Field(name="education", type="int64")],
    output=Field(name="wage", type="float64"),
    task="regression",
    key="person",
)
MARRIED = Signature(
    inputs=WAGES.inputs,
    columns=WAGES.columns,
    output=Field(name="married", type="string"),
    task="classification",
    classes=["no", "yes"],
    positive="yes",
)
IMAGES = Signature(
    inputs=[Field(name="image", type="float64", shape=[2, 3])],
    columns=[Field(name="image", type="float64", shape=[2, 3])],
    output=Field(name="digit", type="int64"),
    task="classification",
    classes=[0, 1],
)


def intake(signature: Signature = WAGES, max_rows: int = 10_000) -> Intake:
    return Intake(signature, max_rows=max_rows)


def request(body: bytes, kind: str, path: str = "/invocations") -> HttpRequest:
    return HttpRequest(method="POST", path=path, headers={b"content-type": kind.encode()}, body=body)


def rows(asked: Asked) -> list[dict[str, Any]]:
    """As records, without what was not sent."""
    return [{name: value for name, value in row.items() if value is not None} for row in asked.records()]


def answered(**changes: Any) -> Answer:
    values: dict[str, Any] = {
        "id": "0000000000010000020000000f",
        "endpoint": "wage",
        "at": 1,
        "versions": [3, 3],
        "arms": ["live", "live"],
        "values": [5.5, None],
    }
    return Answer(**{**values, **changes})


FIRED = [[Flag(guard="range", action="flag", column="education", says="beyond 18")], []]

# fmt: off
WORDS = [b"NaN", b"1e999", b"null", b"[", b"]", b"{", b'"', b"\\ud800", b"-", b"9" * 400, b",", b"\n", b"\0", b"\xff"]
# fmt: on


def mutated(body: bytes, draw: random.Random) -> bytes:
    """The body with a few bytes changed; half of the time also with some cut out, doubled or put in."""
    data = bytearray(body)
    in_place = draw.random() < 0.5
    for _ in range(draw.choice((1, 1, 1, 4))):
        at = draw.randrange(len(data) + 1)
        some = draw.randint(1, 30)
        match draw.randrange(2 if in_place else 5):
            case 0:
                data[at : at + 1] = bytes([draw.choice((draw.randrange(256), *b"012"))]) * len(data[at : at + 1])
            case 1:
                data[at : at + 8] = draw.choice(b"\xff\x00\x7f\x01").to_bytes(1) * len(data[at : at + 8])
            case 2:
                del data[at : at + some]
            case 3:
                data[at:at] = data[at : at + some]
            case _:
                data[at:at] = draw.choice(WORDS)
    return bytes(data)
