"""What a schema does differently from the one before it, and the schema to propose when new data do not fit.

Steps and models were written for the schema before. A change is *breaking* when something that they could rely on need
not hold any longer: a column, its type, that no value is missing, that no value comes twice, and whatever a person
demanded. It is *compatible* when all of that still holds: a new column, a stricter demand, and values that were merely
never seen before (docs/decisions/0016).
"""

from __future__ import annotations

import datetime as dt
import difflib
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Literal

from msgspec import Struct
from msgspec.structs import replace

from perennial.data.schema import Column, Schema, Violation
from perennial.errors import Conflict

if TYPE_CHECKING:
    from perennial.data.datasets import DatasetVersion
    from perennial.data.schemas import Schemas, SchemaVersion

__all__ = ["SchemaChange", "accepted_by_rule", "adopt", "changes", "diff_lines", "merged", "propose_for"]

SLACK = 0.1  # a range is widened when it is left by more than this share of its width, as `validation` allows
TRIES = 5  # how often a proposal is made anew, because somebody accepted another schema meanwhile
TOLD = 5  # values that a sentence names
_STRENGTH = {"warning": 0, "error": 1, "warn": 0, "quarantine": 1, "stop": 2, "all": 0, "compatible": 1, "none": 2}

Mark = Literal["+", "-", "~"]


class SchemaChange(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One thing that a schema does differently; `breaking`: what relies on the one before may fail.

    `column` is empty when it is about the whole table. `mark`: new, gone or different.
    """

    column: str
    says: str
    breaking: bool
    mark: Mark = "~"


def changes(before: Schema, after: Schema) -> list[SchemaChange]:
    """What `after` does differently, in the order of its columns; what is gone comes first, the whole table last."""
    old = {column.name: column for column in before.columns}
    new = {column.name: column for column in after.columns}
    found = [_gone(column, [new[name] for name in new.keys() - old.keys()]) for column in old.values()
             if column.name not in new]  # fmt: skip
    for name, column in new.items():
        if name in old:
            found += [SchemaChange(column=name, says=says, breaking=bad) for says, bad in _column(old[name], column)]
        else:
            says = f"is new: {column.type}{', may be missing' if column.nullable else ''}"
            found.append(SchemaChange(column=name, says=says, breaking=False, mark="+"))
    return found + list(_whole(before, after))


def accepted_by_rule(accepted: Schema, found: Sequence[SchemaChange]) -> bool:
    """Whether the accepted schema lets these changes, which new data show, pass without a person."""
    if accepted.accept_by_rule == "compatible":
        return not any(change.breaking for change in found)
    return accepted.accept_by_rule == "all"


def diff_lines(found: Sequence[SchemaChange]) -> Iterator[str]:
    """The changes as a person reviews them, the breaking ones first."""
    for breaking, says in (True, "breaking: what relies on the schema before may fail"), (False, "compatible:"):
        listed = [change for change in found if change.breaking == breaking]
        if listed:
            yield says
            yield from (f"  {change.mark} {change.column or '(table)'}: {change.says}" for change in listed)
    if not found:
        yield "no difference"


def merged(accepted: Schema, observed: Schema, violations: Sequence[Violation] | None = None) -> Schema:
    """The schema to propose when data do not fit the accepted one.

    It takes over what the data show: new, lost and retyped columns, missing values, wider ranges and sets. What a
    person set stays: limits, checks, shares, environments, severity, policies. Nothing is demanded that was not before,
    since a batch that happens to be tidy proves nothing.

    Args:
        accepted: The schema that the data were checked against.
        observed: The schema that these data fit (`inference.infer`).
        violations: What was found; only that is taken over. None: every difference.
    """
    told = None if violations is None else {(violation.column, violation.kind) for violation in violations}

    def shows(column: str, kind: str) -> bool:
        if told is None:
            return kind != "pattern"  # whether one pattern allows all that another does cannot be seen
        return (column, kind) in told

    seen = {column.name: column for column in observed.columns}
    known = {column.name for column in accepted.columns}
    columns = [
        _merged(column, seen[column.name], shows) if column.name in seen else column
        for column in accepted.columns
        if column.name in seen or "training" in (column.absent_in or ()) or not shows(column.name, "lost")
    ]
    columns += [column for column in observed.columns if column.name not in known and shows(column.name, "new")]
    names = {column.name for column in columns}
    return replace(
        accepted,
        columns=columns,
        keys=[key for key in accepted.keys if names.issuperset(key)],
        dependencies=[
            found for found in accepted.dependencies if names.issuperset((*found.determinants, found.dependent))
        ],
        orders=[found for found in accepted.orders if names.issuperset((found.lower, found.upper))],
    )


def propose_for(
    schemas: Schemas,
    name: str,
    accepted: SchemaVersion,
    observed: Schema,
    dataset_version: int,
    *,
    violations: Sequence[Violation] | None = None,
) -> SchemaVersion | None:
    """Propose what new data show; None when they show nothing that the accepted schema does not allow.

    Changes that the accepted schema's rule allows are accepted at once; others wait for a person. What a person
    rejected is not proposed again.

    Raises:
        Conflict: Another schema than `accepted` is accepted by now.
    """
    schema = merged(accepted.schema, observed, violations)
    if schema == accepted.schema:
        return None
    return schemas.propose(name=name, schema=schema, dataset_version=dataset_version, base=accepted.version)


def adopt(schemas: Schemas, version: DatasetVersion) -> SchemaVersion | None:
    """Let the schema of a dataset learn from a version that was just committed; None when there is nothing to learn.

    The first accepted version's schema is the first schema; a later version proposes what it does differently. Calling
    it again changes nothing, so it may follow a commit that was not the first try.
    """
    if not version.schema.columns or not version.rows:  # an empty table has columns, but tells nothing of their types
        return None
    for left in reversed(range(TRIES)):
        accepted = schemas.get(name=version.name)
        try:
            if accepted is not None:
                seen = version.schema, version.version
                return propose_for(schemas, version.name, accepted, *seen, violations=version.violations)
            if version.state == "draft":
                return None
            return schemas.propose(name=version.name, schema=version.schema, dataset_version=version.version, base=0)
        except Conflict:  # somebody accepted another schema between our look and our word
            if not left:
                raise
    raise AssertionError("unreachable")


def _gone(column: Column, new: list[Column]) -> SchemaChange:
    names = [other.name for other in new if other.type == column.type]
    near = difflib.get_close_matches(column.name, names, n=1)
    renamed = f"; was it renamed to {near[0]!r}?" if near else ""
    return SchemaChange(column=column.name, says=f"is gone, was {column.type}{renamed}", breaking=True, mark="-")


def _column(before: Column, after: Column) -> Iterator[tuple[str, bool]]:
    if before.type != after.type:
        yield f"holds {after.type}, was {before.type}", True
    if before.nullable != after.nullable:
        yield ("may be missing, never was", True) if after.nullable else ("is never missing", False)
    elif before.presence != after.presence:
        shares = [1.0 if not column.nullable else column.presence or 0.0 for column in (before, after)]
        yield f"is present in at least {shares[1]:.4g} of the rows, was {shares[0]:.4g}", shares[1] < shares[0]
    if before.missing != after.missing:
        yield f"texts that stand for a missing value: {_listed(after.missing)}, were {_listed(before.missing)}", False
    values = before.severity == "error"  # what is only a warning was a description, not a demand
    yield from _set("categories", before.categories, after.categories, values)
    yield from _set("patterns", before.patterns, after.patterns, values)
    if before.coverage != after.coverage:
        looser = after.coverage < before.coverage
        yield f"at least {after.coverage:.4g} of the values are of the set, was {before.coverage:.4g}", looser
    yield from _bounds("was seen", (before.minimum, before.maximum), (after.minimum, after.maximum), values)
    yield from _bounds("is limited", (before.at_least, before.at_most), (after.at_least, after.at_most), True)
    if before.unique != after.unique:
        yield ("has no value twice", False) if after.unique else ("repeats values, had none twice", True)
    yield from _absence(set(before.absent_in), set(after.absent_in))
    if before.severity != after.severity:
        yield f"what breaks it is {_an(after.severity)}, was {_an(before.severity)}", after.severity == "warning"
    for field, says in (("drift_limit", "drift"), ("skew_limit", "skew")):
        limits = getattr(before, field), getattr(after, field)
        if limits[0] != limits[1]:
            looser = limits[0] is not None and (limits[1] is None or limits[1] > limits[0])
            yield f"limit of {says}: {_word(limits[1])}, was {_word(limits[0])}", looser


def _whole(before: Schema, after: Schema) -> Iterator[SchemaChange]:
    def change(says: str, breaking: bool, mark: Mark = "~") -> SchemaChange:
        return SchemaChange(column="", says=says, breaking=breaking, mark=mark)

    both = {column.name for column in before.columns} & {column.name for column in after.columns}
    orders = [[column.name for column in schema.columns if column.name in both] for schema in (before, after)]
    if orders[0] != orders[1]:
        yield change("the columns are in another order", breaking=False)
    old, new = _statements(before), _statements(after)
    for key, (says, severity, _) in old.items():
        if key not in new:
            yield change(f"no longer holds: {says}", severity == "error", "-")
    for key, (says, severity, strength) in new.items():
        if key not in old:
            yield change(f"holds: {says}", False, "+")
        elif (severity, strength) != old[key][1:]:
            lower = _STRENGTH[severity] < _STRENGTH[old[key][1]]
            lower |= old[key][1] == "error" and strength < old[key][2]
            yield change(f"{says}: {_demand(severity, strength)}, was {_demand(*old[key][1:])}", lower)
        elif says != old[key][0]:
            yield change(f"{says} (was: {old[key][0]})", severity == "error")
    if before.min_rows != after.min_rows:
        yield change(f"at least {after.min_rows} rows, was {before.min_rows}", after.min_rows < before.min_rows)
    for field, says in (("bad_rows", "bad rows"), ("accept_by_rule", "changes accepted by rule")):
        ways = getattr(before, field), getattr(after, field)
        if ways[0] != ways[1]:
            yield change(f"{says}: {ways[1]}, was {ways[0]}", _STRENGTH[ways[1]] < _STRENGTH[ways[0]])


def _statements(schema: Schema) -> dict[tuple[str, ...], tuple[str, str, float]]:
    """What holds between columns, by what makes it the same statement: in words, its severity, in which share."""
    found: dict[tuple[str, ...], tuple[str, str, float]] = {
        ("key", *sorted(key)): (f"{', '.join(key)} tell rows apart", "error", 1.0) for key in schema.keys
    }
    for item in schema.dependencies:
        says = f"{', '.join(item.determinants)} determine {item.dependent}"
        found["dependency", *sorted(item.determinants), "", item.dependent] = (says, item.severity, item.holds)
    for item in schema.orders:
        says = f"{item.lower} is {'below' if item.strict else 'at most'} {item.upper}"
        found["order", item.lower, item.upper, str(item.strict)] = (says, item.severity, item.holds)
    for item in schema.checks:
        found["check", item.name] = (f"check {item.name!r}: {item.where}", item.severity, 1.0)
    return found


def _merged(accepted: Column, seen: Column, shows: Any) -> Column:
    name = accepted.name
    nullable = accepted.nullable or (seen.nullable and shows(name, "missing"))
    if accepted.type != seen.type and shows(name, "type"):  # what was seen of the other type says nothing any longer
        return replace(
            seen,
            nullable=nullable,
            presence=accepted.presence,
            unique=accepted.unique and seen.unique,
            absent_in=accepted.absent_in,
            severity=accepted.severity,
        )
    found = replace(accepted, nullable=nullable)
    if shows(name, "missing") and accepted.presence is not None and seen.nullable:
        found = replace(found, presence=min(accepted.presence, seen.presence or 0.0) or None)
    if shows(name, "category") and accepted.coverage == 1.0:
        found = replace(found, categories=_union(accepted.categories, seen.categories))
    if shows(name, "pattern"):
        found = replace(found, patterns=_union(accepted.patterns, seen.patterns))
    if shows(name, "range"):
        low, high = _widened((accepted.minimum, accepted.maximum), (seen.minimum, seen.maximum))
        found = replace(found, minimum=low, maximum=high)
    return replace(found, unique=accepted.unique and (seen.unique or not shows(name, "duplicate")))


def _union(known: list[str] | None, seen: list[str] | None) -> list[str] | None:
    """A set that was not inferred from the new data (they are too few, or too many kinds) says nothing about it."""
    if known is None or seen is None:
        return known
    return [*known, *sorted(set(seen) - set(known))]


def _widened(known: tuple[Any, Any], seen: tuple[Any, Any]) -> tuple[Any, Any]:
    low, high, new_low, new_high = map(_number, (*known, *seen))
    if low is None or high is None or new_low is None or new_high is None:
        return known
    slack = SLACK * (high - low)
    least = max(0.0, low - slack) if low >= 0 else low - slack  # a first negative number is never within the slack
    return (
        seen[0] if new_low < least else known[0],
        seen[1] if new_high > high + slack else known[1],
    )


def _number(value: float | str | None) -> float | None:
    """The place of a bound on the line of its kind: of a time, its seconds; None when it is neither."""
    if not isinstance(value, str):
        return None if value is None else float(value)
    try:
        time = dt.datetime.fromisoformat(value)
    except ValueError:
        return None
    return (time if time.tzinfo else time.replace(tzinfo=dt.UTC)).timestamp()


def _set(what: str, before: list[str] | None, after: list[str] | None, demanded: bool) -> Iterator[tuple[str, bool]]:
    if before is None or after is None:
        if before != after:
            yield (f"any {what}, were {_listed(before)}", demanded) if after is None else (
                f"{what}: {_listed(after)}, were any", False)  # fmt: skip
        return
    added = [value for value in after if value not in before]
    removed = [value for value in before if value not in after]
    if added:
        yield f"{len(added)} more {what}: {_listed(added)}", demanded
    if removed:
        yield f"{len(removed)} fewer {what}: {_listed(removed)}", False


def _bounds(says: str, before: tuple[Any, Any], after: tuple[Any, Any], demanded: bool) -> Iterator[tuple[str, bool]]:
    if before == after:
        return
    (low, high), (new_low, new_high) = (map(_number, ends) for ends in (before, after))
    looser = low is not None and (new_low is None or new_low < low)
    looser |= high is not None and (new_high is None or new_high > high)
    words = f"{says} from {_word(after[0])} to {_word(after[1])}, was {_word(before[0])} to {_word(before[1])}"
    yield words, demanded and looser


def _absence(before: set[str], after: set[str]) -> Iterator[tuple[str, bool]]:
    if more := sorted(after - before):
        yield f"need not be there in {', '.join(more)}", True
    if fewer := sorted(before - after):
        yield f"has to be there in {', '.join(fewer)}", False


def _listed(values: list[str] | None) -> str:
    if not values:
        return "none"
    rest = f" and {len(values) - TOLD} more" if len(values) > TOLD else ""
    return ", ".join(repr(value) for value in values[:TOLD]) + rest


def _word(value: object) -> str:
    return "any" if value is None else f"{value:g}" if isinstance(value, float) else str(value)


def _an(severity: str) -> str:
    return "an error" if severity == "error" else "a warning"


def _demand(severity: str, share: float) -> str:
    return f"{_an(severity)} when it does not hold" + (f" in {share:.4g} of the rows" if share < 1 else "")
