"""Requirements on the data behind a model: they fit their schema, and nothing in them gives the target away."""

from __future__ import annotations

from typing import Any

import polars as pl

from perennial.evaluate.leakage import Suspicion, search_leaks
from perennial.evaluate.requirements.case import Case, Result, listed

__all__ = ["data_quality", "no_leakage"]


def data_quality(case: Case, options: dict[str, Any]) -> Result:
    """No more rows than allowed break with schema and checks, no column misses more than allowed."""
    frames = {"held-out": case.frame} | ({"training": case.train_frame} if case.train_frame is not None else {})
    allowed = float(options["missing_at_most"])
    missing = {
        f"{name} ({where} rows)": _missing_share(frame[name])
        for where, frame in frames.items()
        for name in case.features
        if name in frame.columns
    }
    over = {name: share for name, share in missing.items() if share > allowed}
    problems = [f"{share * 100:.3g} % of {name} are missing" for name, share in over.items()]
    evidence: dict[str, Any] = {"missing": {name: share for name, share in missing.items() if share > 0}}
    facts = case.data
    if facts is None:
        if problems:
            return False, listed(problems), evidence
        return (
            None if allowed >= 1 else True,
            "the data were not checked against a schema here" + ("" if allowed >= 1 else "; few values are missing"),
            evidence,
        )
    evidence |= {"rows": facts.rows, "quarantined": facts.quarantined}
    evidence["broken"] = [{"says": says, "rows": rows} for says, rows in facts.broken]
    at_most = float(options["broken_at_most"]) * facts.rows
    problems = [f"{says} ({rows} rows)" for says, rows in facts.broken if rows > at_most or not rows] + problems
    if problems:
        return False, listed(problems), evidence
    kept_out = f"; {facts.quarantined} rows or more that did not were kept out" if facts.quarantined else ""
    return True, f"{facts.rows} rows fit their schema and checks{kept_out}", evidence


def no_leakage(case: Case, options: dict[str, Any]) -> Result:
    """No strong suspicion of a leak; weak ones are listed."""
    if case.train_frame is None:
        return None, "the training rows are not here: leaks cannot be looked for", {}
    found = search_leaks(
        case.task,
        train=case.train_frame,
        train_truth=case.train,
        test=case.frame,
        test_truth=case.held_out,
        features=case.features,
        time=case.time,
        key=case.key,
    )
    known = set(options["known"])
    # What a person vouches for are single columns; rows that the parts share are nobody's to know.
    vouched = [one for one in found if one.columns and set(one.columns) <= known]
    open_ = [one for one in found if one not in vouched]
    strong = [one for one in open_ if one.strength == "strong"]
    weak = [one for one in open_ if one.strength == "weak"]
    evidence = {"suspicions": [_told(one, one in vouched) for one in found]}
    if strong:
        return False, listed([one.says for one in strong], 3), evidence
    says = "nothing gives the target away"
    if weak:
        says += f"; look at: {listed([one.says for one in weak], 3)}"
    return True, says, evidence


def _told(one: Suspicion, is_vouched: bool) -> dict[str, Any]:
    return {
        "kind": one.kind,
        "columns": list(one.columns),
        "strength": one.strength,
        "says": one.says,
        "known": is_vouched,
        **one.evidence,
    }


def _missing_share(column: pl.Series) -> float:
    if not len(column):
        return 0.0
    missing = column.null_count()
    if column.dtype.is_float():
        missing += int(column.is_nan().sum() or 0)
    return missing / len(column)
