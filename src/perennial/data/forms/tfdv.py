"""TensorFlow Data Validation's schema, in protocol buffers' text form, as ours.

Features become columns: types, presence, domains, environments, comparators of drift and skew. Whatever has no
counterpart here is named in `Imported.lost`, also what a later version of the format may add. Neither TensorFlow nor
protobuf is needed.

Source: tensorflow_metadata/proto/v0/schema.proto, https://github.com/tensorflow/metadata.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import TypeAlias

from msgspec.structs import replace

from perennial.data.forms import Imported
from perennial.data.forms.sound import faults
from perennial.data.forms.textproto import Message, parse
from perennial.data.schema import Column, Schema
from perennial.errors import Invalid

__all__ = ["from_tfdv"]

Note: TypeAlias = Callable[[str], None]
_TYPES = {"BYTES": "string", "INT": "int64", "FLOAT": "float64"}
_DOMAIN_TYPES = {"string_domain": "BYTES", "int_domain": "INT", "float_domain": "FLOAT"}
_NOT_VALIDATED = ("PLANNED", "ALPHA", "DEPRECATED", "DEBUG_ONLY", "DISABLED")
_ALWAYS = ["serving", "training"]  # what need not be there at all need not be there in these


def from_tfdv(text: str) -> Imported:
    """The schema that this text describes; each anomaly that TFDV would report is an error here as well.

    Raises:
        Invalid: Not protobuf's text format, or a feature without a name, twice, or with an unknown domain.
    """
    root = parse(text)
    lost: list[str] = []
    domains = {
        name: (kind, domain)
        for kind in _DOMAIN_TYPES
        for domain in root.messages(kind)
        if (name := domain.text("name")) is not None
    }
    environments = _Environments(root)
    columns: list[Column] = []
    for feature in root.messages("feature"):
        column = _column(feature, domains, environments, lost)
        if column is not None and any(other.name == column.name for other in columns):
            raise Invalid(f"feature {column.name!r} is there twice", where=f"line {feature.line}")
        columns += [column] if column else []
    if not columns:
        raise Invalid("no feature of it can be a column", where="; ".join(lost), remedy="name a schema with features")
    constraints = root.message("dataset_constraints")
    min_rows = constraints.number("min_examples_count") if constraints else None
    schema = Schema(columns=columns, min_rows=1 if min_rows is None else int(min_rows))
    for fault in faults(schema):
        raise Invalid(fault.says, remedy=fault.remedy)
    for kind, domain in domains.values():
        for field in ("value", "min", "max"):  # a domain that no feature uses is no loss
            _ = domain.texts(field) if kind == "string_domain" else domain.number(field)
    lost += [f"{name} (line {line})" for name, line in root.unasked() if not name.startswith("feature.")]
    return Imported(schema, lost)


def _column(
    feature: Message, domains: Mapping[str, tuple[str, Message]], environments: _Environments, lost: list[str]
) -> Column | None:
    name = feature.text("name")
    if not name:
        raise Invalid("a feature has no name", where=f"line {feature.line}", remedy='add name: "..."')

    def note(says: str) -> None:
        lost.append(f"feature {name!r}: {says}")

    kind, domain = _domain(feature, domains, name)
    physical = feature.word("type") or _DOMAIN_TYPES.get(kind, "TYPE_UNKNOWN")
    type_ = _TYPES.get(physical)
    if type_ is None:
        note(f"left out, as it is of type {physical}")
        return None
    column = Column(
        name=name,
        type=_shaped(feature, type_, note),
        absent_in=environments.absent(feature),
        severity="error",
    )
    column = _present(column, feature, note)
    if domain is not None:
        column = _within(column, kind, domain, note)
    column = _compared(column, feature)
    mass = feature.message("distribution_constraints")
    share = mass.number("min_domain_mass") if mass else None
    if share is not None and column.categories is not None:
        column = replace(column, coverage=float(share))
    elif share is not None:
        note("distribution_constraints, as it has no closed set of texts")
    stage = feature.word("lifecycle_stage") or ("DEPRECATED" if feature.word("deprecated") == "true" else "")
    if stage in _NOT_VALIDATED:
        note(f"of stage {stage}, so only its type is checked, where it is there")
        column = Column(name=name, type=column.type, nullable=True, absent_in=environments.all)
    lost.extend(f"feature {name!r}: {path} (line {line})" for path, line in feature.unasked())
    return column


class _Environments:
    """Which environments there are, and in which of them a feature need not be there."""

    def __init__(self, root: Message) -> None:
        self.default = {name.lower() for name in root.texts("default_environment")}
        named = {
            name.lower()
            for feature in root.messages("feature")
            for field in ("in_environment", "not_in_environment")
            for name in feature.texts(field)
        }
        self.all = sorted(self.default | named) or _ALWAYS

    def absent(self, feature: Message) -> list[str]:
        """A feature is where it is said or by default to be, and not where it is said not to be."""
        inside = {name.lower() for name in feature.texts("in_environment")}
        outside = {name.lower() for name in feature.texts("not_in_environment")}
        there = inside | (self.default or set(() if inside else self.all))
        return [name for name in self.all if name in outside or name not in there] if inside or outside else []


def _domain(feature: Message, domains: Mapping[str, tuple[str, Message]], name: str) -> tuple[str, Message | None]:
    """The domain, and of which kind; written in the feature or named there."""
    reference = feature.text("domain")
    if reference is not None:
        if reference not in domains:
            known = f"define it, or name one of {', '.join(domains)}" if domains else "define it"
            says = f"feature {name!r} names the domain {reference!r}, which is not defined"
            raise Invalid(says, where=f"line {feature.line}", remedy=known)
        return domains[reference]
    for kind in (*_DOMAIN_TYPES, "bool_domain"):
        if (found := feature.message(kind)) is not None:
            found.text("name")
            return kind, found
    return "", None


def _shaped(feature: Message, type_: str, note: Note) -> str:
    """The type, of a list when there may be several values in one example."""
    count, shape = feature.message("value_count"), feature.message("shape")
    sizes = [dimension.number("size") for dimension in shape.messages("dim")] if shape else []
    _ = [dimension.text("name") for dimension in shape.messages("dim")] if shape else []
    if count is not None:
        sizes = [count.number("max")]
        _ = count.number("min")
    elif shape is None and feature.message("value_counts") is not None:
        sizes = [None]
    if any(size != 1 for size in sizes):
        note("how many values it has in one example is not checked")
        return f"list<item: {'double' if type_ == 'float64' else type_}>"
    return type_


def _present(column: Column, feature: Message, note: Note) -> Column:
    presence = feature.message("presence")
    fraction = float((presence.number("min_fraction") if presence else None) or 0.0)
    count = (presence.number("min_count") if presence else None) or 0
    if count > 1:
        note(f"presence.min_count of {count}; at least one value has to be there")
    if not count and not fraction:
        column = replace(column, absent_in=sorted({*column.absent_in, *_ALWAYS}))
    if fraction >= 1:
        return column
    return replace(column, nullable=True, presence=fraction or None)


def _within(column: Column, kind: str, domain: Message, note: Note) -> Column:
    if kind == "string_domain":
        values = list(dict.fromkeys(domain.texts("value")))
        if column.type != "string":
            note(f"its {kind}, as it holds {column.type}")
            return column
        return replace(column, categories=values)
    if kind == "bool_domain":
        words = [word for field in ("false_value", "true_value") if (word := domain.text(field)) is not None]
        if column.type == "string":
            return replace(column, categories=words or ["false", "true"])
        return replace(column, at_least=0.0, at_most=1.0)
    low, high = (_bound(domain.number(field), field, note) for field in ("min", "max"))
    if column.type == "string":
        note(f"the limits of its {kind}; that its texts are numbers is checked")
        number = r"[+-]?[0-9]+" if kind == "int_domain" else r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?"
        return replace(column, patterns=[number])
    if column.type not in ("int64", "float64"):
        note(f"the limits of its {kind}, as it holds {column.type}")
        return column
    return replace(column, at_least=low, at_most=high)


def _bound(value: float | None, field: str, note: Note) -> float | None:
    if value is None or not math.isfinite(value):
        return None
    if float(value) != value:
        note(f"its {field} {value} is taken for {float(value):.0f}")
    return float(value)


def _compared(column: Column, feature: Message) -> Column:
    """Limits of drift and skew: ours are L-infinity for texts, Jensen-Shannon for numbers; another one is lost."""
    measure = "infinity_norm" if column.type == "string" else "jensen_shannon_divergence"
    for field, limit in (("drift_comparator", "drift_limit"), ("skew_comparator", "skew_limit")):
        comparator = feature.message(field)
        found = comparator.message(measure) if comparator else None
        threshold = found.number("threshold") if found else None
        if threshold is not None:
            column = replace(column, **{limit: float(threshold)})
    return column
