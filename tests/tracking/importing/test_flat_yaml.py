"""The YAML that MLflow writes is read as any reader of YAML would read it, and everything else is refused."""

from __future__ import annotations

import pytest

from perennial.tracking.importing.flat_yaml import NotFlat, read


@pytest.mark.parametrize(
    "text, value",
    [
        ("a: plain words", "plain words"),
        ("a: ''", ""),
        ("a:", None),
        ("a: null", None),
        ("a: ~", None),
        ("a: '~'", "~"),
        ("a: -12", -12),
        ("a: '12'", "12"),
        ("a: true", True),
        ("a: 1.5", 1.5),
        ("a: it's", "it's"),
        ("a: 'it''s'", "it's"),
        ("a: file:///x y#z", "file:///x y#z"),
        ("a: 'two\n\n  lines'", "two\nlines"),
        ("a: long words\n  that go on", "long words that go on"),
        ("a: 'ends in \\\n  and goes on'", "ends in \\ and goes on"),
        ('a: "tab\\tand\\\n  \\ on \\u65e5 \\U0001F600"', "tab\tand on 日 😀"),
        ('a: "\\ud83d\\ude00"', "😀"),
        ('a: "no break\\\\\n  here"', "no break\\ here"),
        ("a: {}", {}),
        ("a: []", {}),
        ("a:\n  b.c: 1\n  'd e': x", {"b.c": 1, "d e": "x"}),
        ("a:\n- b\n- 'c'", ["b", "c"]),
    ],
)
def test_a_value_is_read(text: str, value: object) -> None:
    assert read(f"{text}\n") == {"a": value}


@pytest.mark.parametrize(
    "text",
    [
        "a: !!python/object/apply:os.system [ls]",
        "a: &x 1",
        "a: *x",
        "a: |\n  block",
        "a: {b: c}",
        "a: [1, 2]",
        "a: 'open",
        'a: "\\q"',
        "a: 1\na: 2",
        "  a: 1",
        "a: 1\n  b: 2",
        "a: b: c",
        "just text",
        "- item",
        "a:\n  b: 1\n- c",
        'a: "\\ud83d"',
    ],
)
def test_anything_else_is_refused_with_its_line(text: str) -> None:
    with pytest.raises(NotFlat, match=r"^line \d+: "):
        read(text)
