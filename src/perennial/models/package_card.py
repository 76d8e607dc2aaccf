"""The card inside a package: what was certain when its bytes were made, for whoever finds the package alone.

A package is known by the digest of its bytes. What is measured, required and decided of it comes later and changes, so
it cannot stand in them: the registry records it beside the digest, and `perennial models card` and `export` show it.
No date, no time that something took and no place stands here, so the same model still makes the same bytes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import cast

from perennial.models.facts.compilation import Compilation
from perennial.models.facts.markdown import markdown_table, markdown_text
from perennial.models.signature import Field, Signature
from perennial.types import JSON

__all__ = ["CARD", "package_card"]

CARD = "model-card.md"
CATEGORIES = 8  # of a column that are told; signature.json has all
LATER = (
    "This card is part of the package and says what was certain when it was made. How well the model answers, which "
    "requirements it met and who let it answer is recorded later, beside the digest of this package: "
    "`perennial models card NAME` shows it, and `perennial models export` writes it beside these files, as card.html "
    "and card.json."
)


def package_card(
    signature: Signature,
    *,
    kind: str,
    saved_as: str,
    runs_code: bool,
    compilation: Compilation,
    provenance: Mapping[str, JSON],
    learned_from: int | None = None,
) -> bytes:
    """Markdown in UTF-8; the same facts make the same bytes.

    Args:
        signature: What the model takes and answers.
        kind: Its toolkit.
        saved_as: The format of its file.
        runs_code: Whether loading it can run code that is in the package.
        compilation: In which form it answers, and why.
        provenance: Loop, code, data and origin.
        learned_from: Rows that it was fitted to, where that is known.
    """
    lines = _lines(signature, kind, saved_as, runs_code, compilation, provenance, learned_from)
    return ("\n".join(lines) + "\n").encode()


def _lines(
    signature: Signature,
    kind: str,
    saved_as: str,
    runs_code: bool,
    compilation: Compilation,
    provenance: Mapping[str, JSON],
    learned_from: int | None,
) -> Iterable[str]:
    yield f"# {markdown_text(signature.output.name)}: a {signature.task} model\n"
    yield f"{LATER}\n"
    yield "## What it answers, from what\n"
    answer = "a number" if signature.task == "regression" else "one of several classes"
    if signature.classes:
        labels = ", ".join(str(label) for label in signature.classes)
        answer = f"one of {len(signature.classes)} classes ({labels})"
    yield f"{markdown_text(f'{signature.output.name}: {answer}')}\n"
    yield from markdown_table(("column", "type", "missing values", "values"), map(_column, signature.inputs))
    yield "## In which form it answers\n"
    form = f"compiled, {compilation.form}" if compilation.form else "as its toolkit has it"
    code = "can run code that is in this package" if runs_code else "runs no code of its own"
    yield from markdown_table(
        ("", ""),
        [
            ("toolkit", f"{kind}, saved as {saved_as}; loading it {code}"),
            ("answers", f"{form}: {compilation.reason}"),
        ],
    )
    yield "## Where it comes from\n"
    told = {name: _told(value) for name, value in provenance.items()}
    if learned_from is not None:
        told["rows it was fitted to"] = str(learned_from)
    yield from markdown_table(("", ""), told.items())
    yield "What was installed stands in environment.txt, answers that every load must repeat in golden.json."


def _column(field: Field) -> tuple[str, str, str, str]:
    known = field.categories or []
    values = ", ".join(known[:CATEGORIES]) + (f" and {len(known) - CATEGORIES} more" if len(known) > CATEGORIES else "")
    kind = field.type + (f", in {field.unit}" if field.unit else "") + ("" if field.required else ", not seen by it")
    return field.name, kind, "allowed" if field.nullable else "no", values


def _told(value: JSON) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name}@{_told(cast(JSON, item))}" for name, item in value.items())
    return str(value)
