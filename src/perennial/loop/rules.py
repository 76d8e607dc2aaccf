"""A rule that an answer must keep, written as a comparison: `"prediction <= 3 * offer"`.

Numbers, columns of the request, `prediction`, + - * /, comparisons, and, or, not: nothing else can be written, so a
rule is data and may run where no user code does.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping
from typing import Any

__all__ = ["PREDICTION", "columns_of", "compiled", "why_not"]

PREDICTION = "prediction"
_NODES: tuple[type[ast.AST], ...] = (
    ast.Expression,
    ast.Compare,
    ast.BoolOp,
    ast.BinOp,
    ast.UnaryOp,
    ast.And,
    ast.Or,
    ast.Not,
    ast.USub,
    ast.Add,
    ast.Sub,
    ast.Mult,
    ast.Div,
    ast.Lt,
    ast.LtE,
    ast.Gt,
    ast.GtE,
    ast.Eq,
    ast.NotEq,
    ast.Name,
    ast.Load,
    ast.Constant,
)
_MAX_LENGTH = 500


def why_not(rule: str) -> str:
    """Why this is no rule, in words; empty when it is one.

    >>> why_not("0 <= prediction <= 3 * offer")
    ''
    >>> why_not("open('f')")
    'it holds a call'
    """
    if len(rule) > _MAX_LENGTH:
        return f"it is longer than {_MAX_LENGTH} characters"
    try:
        tree = ast.parse(rule, mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        return f"it does not parse: {getattr(error, 'msg', error)}"
    for node in ast.walk(tree):
        if not isinstance(node, _NODES):
            return f"it holds a {type(node).__name__.lower()}"
        if isinstance(node, ast.Constant) and not isinstance(node.value, int | float | str):
            return f"it holds {node.value!r}"
    if not isinstance(tree.body, ast.Compare | ast.BoolOp) and not _is_not(tree.body):
        return "it compares nothing"
    return "" if PREDICTION in _names(tree) else f"it does not speak of {PREDICTION!r}"


def columns_of(rule: str) -> list[str]:
    """Columns of the request that a rule needs, in the order of their names."""
    return sorted(_names(ast.parse(rule, mode="eval")) - {PREDICTION})


def compiled(rule: str) -> Callable[[Mapping[str, Any]], bool]:
    """The rule as a function of the prediction and the columns that it names.

    Raises:
        ValueError: It is no rule; see `why_not`.

    >>> compiled("prediction <= 3 * offer")({"prediction": 10.0, "offer": 3.0})
    False
    """
    wrong = why_not(rule)
    if wrong:
        raise ValueError(f"{rule!r} is no rule: {wrong}")
    code = compile(ast.parse(rule, mode="eval"), "<rule>", "eval")

    def keeps(values: Mapping[str, Any]) -> bool:
        return bool(eval(code, {"__builtins__": {}}, values))  # noqa: S307  # only the nodes above can be in it

    return keeps


def _names(tree: ast.AST) -> set[str]:
    return {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}


def _is_not(node: ast.AST) -> bool:
    return isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not)
