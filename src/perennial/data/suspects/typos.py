"""Rare values that are nearly a frequent one: a letter replaced, left out, doubled, or two exchanged.

Whether two values are near is weighed against chance: a random text as long as the rare value would be as near to one
of the frequent values with the probability

    frequent values * (ways to change k of L characters) / A^(L-k)     A = 6 letters, by Shannon's 2.6 bits

so short codes such as states are never called typos of each other. A digit for a digit is no typo but another number.

Source: Shannon (1951), Prediction and entropy of printed English, Bell System Technical Journal 30, 50-64.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from math import comb, log

import numpy as np

from perennial.data.relations.texts import Texts
from perennial.data.suspects.findings import Finding, of_values

__all__ = ["typos"]

FREQUENT = 5  # least rows of a frequent value,
TIMES = 5  # and it has this many times the rows of the rare one
MOST_FREQUENT, MOST_RARE = 2_000, 50_000  # values looked at in one column
LETTERS = 6
CHANCE = 0.05
LONGEST = 400


def typos(index: int, column: Texts) -> Iterator[Finding]:
    """Findings of values near to a frequent one, in a column whose values repeat."""
    known = np.flatnonzero(~column.is_missing)
    counts = column.counts[known]
    frequent = known[counts >= FREQUENT]
    if not len(frequent) or column.counts[frequent].sum() < 0.1 * counts.sum():
        return
    frequent = frequent[np.argsort(-column.counts[frequent], kind="stable")][:MOST_FREQUENT]
    top = int(column.counts[frequent].max())
    rare = known[(counts * TIMES <= top) & np.isnan(column.numbers[known])][:MOST_RARE]  # a number is another number
    texts = {int(code): column.values[int(code)][:LONGEST] for code in np.union1d(frequent, rare)}
    found: dict[int, int] = {}
    for code, near in (
        _same_letters(texts, rare, frequent) + _replaced(texts, rare, frequent) + _moved(texts, rare, frequent)
    ):
        if column.counts[near] >= TIMES * column.counts[code] and code not in found:
            found[code] = near
    if found:
        codes = np.array(list(found))
        near = [column.values[at] for at in found.values()]
        ratio = column.counts[list(found.values())] / column.counts[codes]
        reasons = [
            f"nearly {text!r}, which {column.counts[at]} rows hold"
            for text, at in zip(near, found.values(), strict=True)
        ]
        yield of_values(index, column, codes, 1 - 1 / (1 + ratio / 3), reasons, near)


def _same_letters(texts: dict[int, str], rare: np.ndarray, frequent: np.ndarray) -> list[tuple[int, int]]:
    """Pairs that differ in capitals, spaces and punctuation only."""

    def bare(text: str) -> str:
        return "".join(letter for letter in text.casefold() if letter.isalnum())

    known: dict[str, int] = {}
    for code in frequent.tolist():
        known.setdefault(bare(texts[code]), code)
    found: list[tuple[int, int]] = []
    for code in rare.tolist():
        near = known.get(bare(texts[code]))
        if near is not None and near != code and len(bare(texts[code])) > 2:
            found.append((code, near))
    return found


def _replaced(texts: dict[int, str], rare: np.ndarray, frequent: np.ndarray) -> list[tuple[int, int]]:
    """Pairs of the same length in which some characters, of each word at most a quarter, are others."""
    by_length: dict[int, tuple[list[int], list[int]]] = defaultdict(lambda: ([], []))
    for kind, codes in enumerate((rare, frequent)):
        for code in codes.tolist():
            by_length[len(texts[code])][kind].append(code)
    found: list[tuple[int, int]] = []
    for length, (ours, theirs) in by_length.items():
        if not ours or not theirs or length < 2:
            continue
        targets = _letters([texts[code] for code in theirs], length)
        for start in range(0, len(ours), step := max(1, 4_000_000 // (length * len(theirs)))):
            block = ours[start : start + step]
            wrong = (_letters([texts[code] for code in block], length)[:, None, :] != targets[None]).sum(axis=2)
            wrong[wrong == 0] = length
            for at, near in enumerate(wrong.argmin(axis=1).tolist()):
                code, target = block[at], theirs[near]
                if _is_typo(texts[code], texts[target], len(theirs)):
                    found.append((code, target))
    return found


def _letters(texts: list[str], length: int) -> np.ndarray:
    return np.array(texts, dtype=f"U{length}").view(np.uint32).reshape(len(texts), length)


def _is_typo(text: str, target: str, targets: int) -> bool:
    changed = [at for at, (a, b) in enumerate(zip(text, target, strict=True)) if a != b]
    if any(text[at].isdigit() and target[at].isdigit() for at in changed):
        return False
    start = 0
    for word in target.split(" "):
        inside = sum(start <= at < start + len(word) for at in changed)
        if inside > max(1, len(word) // 4) or (inside and len(word) < 3):
            return False
        start += len(word) + 1
    return _chance(len(text), len(changed), targets) < CHANCE


def _moved(texts: dict[int, str], rare: np.ndarray, frequent: np.ndarray) -> list[tuple[int, int]]:
    """Pairs that one letter put in or left out, or two neighbours exchanged, make the same."""
    lost: dict[str, int] = {}
    whole: dict[str, int] = {}
    for code in frequent.tolist():
        text = texts[code]
        whole.setdefault(text, code)
        if len(text) <= 64:
            for at in range(len(text)):
                if not text[at].isdigit():
                    lost.setdefault(text[:at] + text[at + 1 :], code)
    found: list[tuple[int, int]] = []
    for code in rare.tolist():
        text = texts[code]
        if not 4 <= len(text) <= 64 or _chance(len(text), 1, len(whole)) >= CHANCE:
            continue
        near = lost.get(text)
        for at in range(len(text)) if near is None else ():
            if text[at].isdigit():
                continue
            shorter = text[:at] + text[at + 1 :]
            near = whole.get(shorter)
            if near is None and at + 1 < len(text) and not text[at + 1].isdigit():
                near = whole.get(text[:at] + text[at + 1] + text[at] + text[at + 2 :])
            if near is not None:
                break
        if near is not None and near != code and not _is_inflected(text, texts[near]):
            found.append((code, near))
    return found


def _is_inflected(a: str, b: str) -> bool:
    """Whether two texts differ by nothing but an s at the end of a word."""
    return len(a) != len(b) and sorted(word.rstrip("s") for word in a.split()) == sorted(
        word.rstrip("s") for word in b.split()
    )


def _chance(length: int, changed: int, targets: int) -> float:
    if changed >= length:
        return 1.0
    return float(np.exp(min(0.0, log(targets * comb(length, changed)) - (length - changed) * log(LETTERS))))
