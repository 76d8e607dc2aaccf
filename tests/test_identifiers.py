"""What docs/reliability.md claims, a test proves.

The page names promises (P1), faults (F02), serving cases (S03) and security classes (C04). Each one named there needs
a test whose own name carries the identifier: `test_F02_a_torn_record_is_dropped`.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

TESTS = Path(__file__).parent
CLAIMS = TESTS.parent / "docs" / "reliability.md"

# P has no leading zero, the others have two digits; so that "S3" is the storage service and "C4" a diagram.
IDENTIFIER = re.compile(r"\b(?:P[1-9]\d?|[FSC]\d\d)\b")
RANGE = re.compile(r"\b[PFSC]\d{1,2}\s*(?:-|–|\.\.|to)\s*[PFSC]?\d{1,2}\b")


def claimed_in(text: str) -> set[str]:
    return set(IDENTIFIER.findall(text))


def carried_by(names: Iterator[str]) -> set[str]:
    return {part for name in names for part in name.split("_") if IDENTIFIER.fullmatch(part)}


def names_of_tests() -> Iterator[str]:
    for path in TESTS.rglob("test_*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_"):
                yield node.name


def text_of_claims() -> str:
    return CLAIMS.read_text(encoding="utf-8") if CLAIMS.exists() else ""


def test_every_claimed_identifier_has_a_test() -> None:
    unproven = claimed_in(text_of_claims()) - carried_by(names_of_tests())
    assert not unproven, (
        f"claimed in docs/reliability.md, without a test that carries it: {', '.join(sorted(unproven))}"
    )


def test_identifiers_are_written_one_by_one() -> None:
    ranges = RANGE.findall(text_of_claims())
    assert not ranges, f"a range hides what it claims, write each identifier: {', '.join(ranges)}"


def test_a_claim_is_found_in_the_text_and_in_a_name() -> None:
    assert claimed_in("P1 and F02 (not S3, UTF8 or PF01); see C04.") == {"P1", "F02", "C04"}
    assert carried_by(iter(["test_F02_P1_a_torn_record_is_dropped", "test_nothing"])) == {"F02", "P1"}
