"""A slice holds all that its names need: told by what is in it, and by running it beside the whole module."""

from __future__ import annotations

import ast
from textwrap import dedent
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perennial.loop.slicing import Module, slice_module


def cut(source: str, *roots: str) -> str:
    return slice_module(dedent(source), set(roots), "loop")


def keeps(source: str, *roots: str) -> set[str]:
    """Names that the slice binds at its top."""
    return set(Module(cut(source, *roots)).names)


def test_a_step_keeps_its_own_imports_only() -> None:
    source = """
        import polars as pl
        from sklearn.ensemble import A, B
        from perennial import Loop, rollout
        loop = Loop("x", target="y")
        @loop.collect(secrets=("A",))
        def rows(): return pl.read_csv("x")
        @loop.train
        def model(X, y): return A().fit(X, y)
        loop.rollout(rollout.shadow())
    """
    assert cut(source, "rows") == "import polars as pl\ndef rows():\n    return pl.read_csv('x')\n"
    assert keeps(source, "model") == {"A", "model"}


@pytest.mark.parametrize(
    "body",
    [
        "return helper(x)",
        "return [helper(v) for v in x]",
        "return {k: helper(k) for k in x}",
        "return (lambda v: helper(v))(x)",
        "inner = lambda: helper; return inner()(x)",
        "return map(helper, x)",
        "return helper.attribute",
        "def inner():\n        def innermost(): return helper\n        return innermost\n    return inner",
        "class Inner:\n        use = helper\n    return Inner",
        "class Inner:\n        def method(self): return helper(1)\n    return Inner",
        "return f'{helper(x)}'",
        "with x as y: return helper(y)",
        "global kept; kept = helper; return kept",
        "return x.query('age > @helper_limit and 1')",
        "yield from helper(x)",
        "match x:\n        case helper.limit: return 1",
    ],
)
def test_what_a_function_reads_anywhere_is_kept(body: str) -> None:
    source = f"helper_limit = 3\ndef helper(v): return v\ndef other(v): return v\ndef step(x):\n    {body}\n"
    wanted = "helper_limit" if "@" in body else "helper"
    assert wanted in keeps(source, "step")
    assert "other" not in keeps(source, "step")


@pytest.mark.parametrize(
    "head",
    [
        "def step(x=helper): pass",
        "def step(x, *, y=helper()): pass",
        "def step(x: helper) -> int: pass",
        "def step(x: 'list[helper]') -> int: pass",
        "def step(x) -> 'helper': pass",
        "@helper\ndef step(x): pass",
        "@loop.step\n@helper(1)\ndef step(x): pass",
        "class step(helper): pass",
        "class step(metaclass=helper): pass",
        "class step:\n    field: helper = 1",
        "class step:\n    helper = helper",
        "step = helper()",
        "step = other_name = [helper]",
        "(step, *rest) = helper()",
        "step: int = helper()",
        "if helper: step = 1",
        "for step in helper(): pass",
        "with helper() as step: pass",
        "try:\n    step = 1\nexcept helper: pass",
        "step = 1\nstep += helper",
        "step = []\nstep.append(helper)",
        "step = {}\nstep['a'] = helper",
        "def step(): pass\nstep.cache = helper",
        "step = [value := helper]",
        "step = 1\ndel step\nstep = helper",
    ],
)
def test_what_a_definition_reads_is_kept(head: str) -> None:
    source = f"def helper(v): return v\ndef other(v): return v\n{head}\n"
    assert {"helper", "step"} <= keeps(source, "step")
    assert "other" not in keeps(source, "step")


def test_names_that_are_local_keep_nothing() -> None:
    source = """
        frame = load()
        def load(): return heavy()
        def heavy(): return 1
        def step(frame):
            load = frame
            total = [heavy for heavy in load]
            return total
    """
    assert keeps(source, "step") == {"step"}


@pytest.mark.parametrize(
    "registration",
    [
        "REG['a'] = 1",
        "REG.update(a=1)",
        "@register\ndef a(): pass",
        "@register('x')\nclass A: pass",
        "item = register(1)",
        "for i in range(3): REG[i] = i",
        "if True:\n    REG['x'] = 1",
        "try:\n    REG['x'] = 1\nexcept KeyError: pass",
        "with open('x') as f: REG['x'] = f",
        "alias = REG\nalias['x'] = 1",
        "x = [REG.setdefault(k, 1) for k in 'ab']",
        "def a(x=REG.setdefault('k', 1)): pass",
        "class A:\n    REG['x'] = 1",
    ],
)
def test_whatever_may_change_a_kept_variable_is_kept(registration: str) -> None:
    source = f"REG = {{}}\ndef register(f): REG[f] = f; return f\n{registration}\ndef step(): return REG\n"
    before, after = len(Module(source).units), len(Module(cut(source, "step")).units)
    register = 0 if "register" in registration else 1
    assert after == before - register


def test_a_subclass_that_its_base_registers_is_kept() -> None:
    source = """
        class Base:
            known = []
            def __init_subclass__(cls): Base.known.append(cls)
        class One(Base): pass
        def step(): return Base.known
    """
    assert keeps(source, "step") == {"Base", "One", "step"}


def test_single_dispatch_keeps_its_implementations() -> None:
    source = """
        from functools import singledispatch
        @singledispatch
        def size(x): return 0
        @size.register
        def _(x: str): return helper(x)
        def helper(x): return len(x)
        def step(x): return size(x)
    """
    assert {"size", "_", "helper", "step"} <= keeps(source, "step")


def test_bare_calls_imports_for_effect_and_registered_definitions_stay() -> None:
    source = """
        import numpy as np
        import sklearn
        from sklearn.experimental import enable_iterative_imputer
        import polars as pl
        import warnings
        warnings.filterwarnings("ignore")
        sklearn.set_config(transform_output="polars")
        np.random.seed(0)
        assert pl
        @pl.api.register_expr_namespace("text")
        class Text: pass
        from functools import lru_cache
        @lru_cache
        def unused(): return pl
        def step(): return 1
    """
    assert keeps(source, "step") == {"np", "sklearn", "enable_iterative_imputer", "pl", "warnings", "Text", "step"}


def test_draws_from_a_seeded_library_keep_their_order() -> None:
    source = """
        import numpy as np
        np.random.seed(0)
        first = np.random.rand()
        second = np.random.rand()
        def step(): return second
    """
    assert "first" in keeps(source, "step")


def test_the_main_block_and_the_loops_own_declarations_are_left_out() -> None:
    source = """
        "A docstring."
        from perennial import Loop, require
        loop = Loop("x")
        HELP = "h"
        @loop.train
        def model(X):
            "Fit."
            return X
        loop.require(require.metric("rmse", at_most=1.0))
        if __name__ == "__main__":
            print(model(HELP))
    """
    assert cut(source, "model") == "def model(X):\n    return X\n"


def test_docstrings_stay_where_they_are_read() -> None:
    assert "Fit." in cut('def step():\n    "Fit."\n    return step.__doc__\n', "step")


@pytest.mark.parametrize(
    "dynamic",
    [
        "return globals()['hidden']",
        "return eval('hid' + 'den')",
        "exec(x)",
        "return vars()",
        "import sys; return getattr(sys.modules[__name__], x)",
        "from importlib import import_module; return import_module(x)",
        "import importlib; return importlib.import_module(x)",
        "return __import__(x)",
        "import inspect; return inspect.currentframe().f_globals",
        "return step.__globals__",
    ],
)
def test_code_that_finds_names_by_itself_keeps_the_whole_module(dynamic: str) -> None:
    source = f"import os\nhidden = os\ndef other(): pass\ndef step(x):\n    {dynamic}\n"
    assert keeps(source, "step") >= {"os", "hidden", "other", "step"}
    assert keeps(source, "other") == {"other"} | ({"os"} & keeps(source, "other"))


@pytest.mark.parametrize("dynamic", ["from math import *", "def __getattr__(name): return 1"])
def test_a_module_with_hidden_names_is_kept_whole(dynamic: str) -> None:
    source = f"{dynamic}\ndef other(): pass\ndef step(x): return pi\n"
    assert "other" in keeps(source, "step") or "__getattr__" not in keeps(source, "step")
    if "*" in dynamic:
        assert keeps(source, "step") >= {"other", "step"}


def test_comments_formatting_and_unrelated_code_change_nothing() -> None:
    one = "import os\nX = {'a':1}\ndef step(x):\n    return X[x]  # look up\ndef other(): return 1\n"
    two = "import os\n\n\nX = {\n  'a': 1,\n}\n# twice\ndef step( x ):\n    return (X[x])\ndef other(): return 2\n"
    assert cut(one, "step") == cut(two, "step")
    assert cut(one, "step") != cut(one.replace("1}", "2}"), "step")


def test_a_try_import_is_kept_in_one_piece() -> None:
    source = """
        try:
            import ujson as json
        except ImportError:
            import json
        def step(x): return json.dumps(x)
    """
    assert "except ImportError" in cut(source, "step")


def test_future_imports_stay_first() -> None:
    assert cut("from __future__ import annotations\ndef step(x: Y): pass\n", "step").startswith("from __future__")


def test_rebound_names_keep_all_their_makers_in_order() -> None:
    source = """
        a = 1
        b = a + 1
        a = b + 1
        c = 5
        def step(): return a
    """
    assert cut(source, "step") == "a = 1\nb = a + 1\na = b + 1\ndef step():\n    return a\n"


NAMES = ["a", "b", "c", "d", "e"]
name = st.sampled_from(NAMES)
line = st.one_of(
    st.builds(lambda x, n: f"{x} = {n}", name, st.integers(0, 9)),
    st.builds(lambda x: f"{x} = []", name),
    st.builds(lambda x, y: f"{x} = [get('{y}')]", name, name),
    st.builds(lambda x, y: f"{x} = get_{y}()", name, name),
    st.builds(lambda x, y: f"push_{x}(get('{y}'))", name, name),
    st.builds(lambda x, y: f"{x} = push_{y}(1)", name, name),
    st.builds(lambda x, y: f"@keep_{y}\ndef {x}(): pass", name, name),
    st.builds(lambda x, y: f"if {x!r} < {y!r}: {x} = {y}", name, name),
    st.builds(lambda x, y: f"{x} = {y}", name, name),
    st.builds(lambda x, y: f"{x} = {y}, {y}", name, name),
)
HELPERS = "def get(x): return x\n" + "".join(
    f"def get_{n}(): return {n}\n"
    f"def push_{n}(v):\n    if isinstance({n}, list): {n}.append(str(v))\n    return {n}\n"
    f"def keep_{n}(f): push_{n}('f'); return repr(sorted(str({n})))\n"
    for n in NAMES
)


def run(source: str) -> dict[str, Any]:
    space: dict[str, Any] = {}
    exec(compile(source, "m", "exec"), space)
    return space


@given(st.lists(line, max_size=12), name, name)
def test_a_slice_gives_the_same_values_as_the_whole_module(lines: list[str], root: str, later: str) -> None:
    source = "".join(f"{n} = 0\n" for n in NAMES) + HELPERS + "\n".join(lines) + "\n"
    try:
        whole = run(source)
    except RecursionError:
        return
    assert repr(run(slice_module(source, {root}))[root]) == repr(whole[root])
    # One slice after the other in one namespace, as steps of a run.
    module = Module(source)
    space: dict[str, Any] = {}
    first, second = module.select({root}), module.select({later})
    for chosen in (first, second - first):
        for index in sorted(chosen):
            exec(compile(ast.Module([module.units[index].node], []), "m", "exec"), space)
    assert (repr(space[root]), repr(space[later])) == (repr(whole[root]), repr(whole[later]))
