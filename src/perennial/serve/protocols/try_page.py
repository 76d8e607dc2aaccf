"""`/docs`: a page on which a person fills in what an endpoint takes and sees what it answers.

Made on the server from the signature; its one script and style sheet are files of ours. Texts of the signature and of
examples are escaped, and the page may load nothing from anywhere else (`PAGE_HEADERS`).
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from perennial.errors import NotFound
from perennial.serve.protocols.openapi import Described
from perennial.serve.protocols.protocol import Reply

if TYPE_CHECKING:
    from jinja2 import Template

    from perennial.models.signature import Field

__all__ = ["PAGE_HEADERS", "asset", "page"]

CHOICES = 255  # texts of training that a field offers
_HERE = Path(__file__).parent.parent / "page"
PAGE_HEADERS: list[tuple[bytes, bytes]] = [
    (
        b"content-security-policy",
        (
            b"default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; form-action 'self'; "
            b"frame-ancestors 'none'; base-uri 'none'"
        ),
    ),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cache-control", b"no-store"),
]
_KINDS = {"/docs.css": b"text/css; charset=utf-8", "/docs.js": b"text/javascript; charset=utf-8"}
_HINTS = {
    "float64": "",
    "int64": "a whole number",
    "bool": "",
    "string": "",
    "binary": "base64",
    "datetime": "a time, as 2024-05-01T12:30:00Z",
    "date": "a date, as 2024-05-01",
}


def page(endpoints: Sequence[Described], name: str = "", *, origin: str = "http://127.0.0.1:8080") -> Reply:
    """The page of an endpoint; of the first where none is named.

    Args:
        endpoints: All of the service.
        name: Of the endpoint, decoded.
        origin: Where the service is reached, for the command line that is shown: scheme, host and port.

    Raises:
        NotFound: There is no endpoint of this name.
    """
    chosen = next((one for one in endpoints if one.name == name or not name), None)
    if chosen is None and name:
        raise NotFound(f"there is no endpoint {name!r}", remedy="GET /docs lists them")
    values: dict[str, Any] = {}
    if chosen is not None:
        rows = chosen.rows()
        body = json.dumps({"records": [rows[0]]}, ensure_ascii=False)
        path = quote(chosen.name, safe="")
        values = {
            "says": _says(chosen),
            "fields": [_field(field, rows[0]) for field in chosen.signature.inputs],
            "rows": len(rows),
            "examples": json.dumps(rows, ensure_ascii=False),
            "curl": f"curl {shlex.quote(f'{origin}/predict/{path}')} \\\n"
            f"  -H 'content-type: application/json' \\\n  -d {shlex.quote(body)}",
            "protocols": [
                ("JSON, Arrow stream", f"POST /predict/{path}"),
                ("MLflow", f"POST /invocations/{path}"),
                ("Open Inference v2", f"POST /v2/models/{path}/infer"),
                ("KServe v1", f"POST /v1/models/{path}:predict"),
            ],
        }
    text = _template().render(endpoints=endpoints, endpoint=chosen, **values)
    return Reply(body=text.encode(), kind=b"text/html; charset=utf-8", headers=list(PAGE_HEADERS))


def asset(path: str) -> Reply | None:
    """`/docs.css` and `/docs.js`; None for any other path."""
    kind = _KINDS.get(path)
    if kind is None:
        return None
    return Reply(body=_bytes(path[1:]), kind=kind, headers=list(PAGE_HEADERS))


def _says(endpoint: Described) -> str:
    signature = endpoint.signature
    unit = f" in {signature.output.unit}" if signature.output.unit else ""
    if signature.task == "regression":
        return f"answers the number {signature.output.name}{unit}"
    labels = [str(label) for label in signature.classes or []]
    shown = ", ".join(labels[:12]) + (", ..." if len(labels) > 12 else "")
    return f"answers the class {signature.output.name}" + (f": {shown}" if shown else "")


def _field(field: Field, row: dict[str, Any]) -> dict[str, Any]:
    value = row.get(field.name)
    if field.shape is not None:
        kind, text = "tensor", "" if value is None else json.dumps(value)
    elif field.type == "bool":
        kind, text = "bool", "" if value is None else str(bool(value)).lower()
    else:
        kind = "choice" if field.type == "string" and field.categories else field.type
        text = "" if value is None else str(value)
    shape = f"numbers of the shape {' x '.join(map(str, field.shape))}" if field.shape is not None else ""
    hints = (shape or _HINTS[field.type], f"in {field.unit}" if field.unit else "")
    return {
        "name": field.name,
        "kind": kind,
        "value": text,
        "needed": field.required and not field.nullable,
        "optional": not field.required,
        "texts": (field.categories or [])[:CHOICES],
        "says": ", ".join(filter(None, hints)),
    }


@cache
def _template() -> Template:
    from jinja2 import Environment, FileSystemLoader  # pages are asked for by people; programs do not wait for it

    loaded = Environment(loader=FileSystemLoader(_HERE), autoescape=True, trim_blocks=True, lstrip_blocks=True)
    return loaded.get_template("docs.html")


@cache
def _bytes(name: str) -> bytes:
    return (_HERE / name).read_bytes()
