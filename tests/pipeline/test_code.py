"""A step's code is followed from module to module, and the same code runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from perennial.pipeline.code import Code
from perennial.pipeline.modules import BundleModules


def code_of(files: dict[str, str]) -> Code:
    modules = {path.removesuffix(".py").replace("/", ".").removesuffix(".__init__"): path for path in files}
    return Code({module: files[path] for module, path in modules.items()}, modules, {"loop": "loop"})


def part(files: dict[str, str], name: str = "step") -> dict[str, str]:
    """The text of every module that `loop.step` needs, without empty ones."""
    code = code_of({"loop.py": "", **files})
    return {path: text for path, text in code.texts(code.slice({"loop": {name}})).items() if text}


def call(files: dict[str, str], folder: Path, name: str = "step") -> Any:
    code = code_of(files)
    modules = BundleModules(code, folder, folder, [""])
    with modules:
        modules.need(code.slice({"loop": {name}}))
        import loop  # type: ignore[import-not-found]

        return getattr(loop, name)()


TWO = "def a(): return b() + LIMIT\ndef b(): return 1\nLIMIT = 2\ndef other(): return heavy\nimport heavy\n"


@pytest.mark.parametrize(
    "source, unit",
    [
        ("from two import a\ndef step(): return a()", "two.py"),
        ("import two\ndef step(): return two.a()", "two.py"),
        ("import two as t\ndef step(): return t.a()", "two.py"),
        ("def step():\n    from two import a as c\n    return c()", "two.py"),
        ("def step():\n    import two\n    return two.a()", "two.py"),
        ("import p.two\ndef step(): return p.two.a()", "p/two.py"),
        ("import p.two as q\ndef step(): return q.a()", "p/two.py"),
        ("from p import two\ndef step(): return two.a()", "p/two.py"),
        ("from p.two import a\ndef step(): return a()", "p/two.py"),
        ("import p.two\nfunctions = [p.two.a]\ndef step(): return functions[0]()", "p/two.py"),
        ("import two\nclass C:\n    run = two.a\ndef step(): return C.run()", "two.py"),
    ],
)
def test_only_what_is_used_of_a_module_is_needed(tmp_path: Path, source: str, unit: str) -> None:
    files = {"loop.py": source + "\n", unit: TWO}
    assert part(files)[unit] == "def a():\n    return b() + LIMIT\ndef b():\n    return 1\nLIMIT = 2\n"
    assert call(files, tmp_path) == 3  # although `heavy`, which others need, is not there to import


@pytest.mark.parametrize(
    "source",
    [
        "import two\ndef step(): return getattr(two, 'a')()",
        "import two\ndef use(m): return m.a()\ndef step(): return use(two)",
        "import two\nalias = two\ndef step(): return alias.a()",
        "from two import *\ndef step(): return a()",
        "import two\ndef step(): return vars(two)['a']()",
        "import two\ndef step(): return two.__dict__['a']()",
        "import importlib\ndef step(): return importlib.import_module('t' + 'wo').a()",
        "import two, inspect\ndef step(): return dict(inspect.getmembers(two))['a']()",
    ],
)
def test_a_module_that_is_handed_around_is_needed_whole(tmp_path: Path, source: str) -> None:
    files = {"loop.py": source + "\n", "two.py": TWO.replace("import heavy", "heavy = 5")}
    assert "heavy = 5" in part(files)["two.py"]
    assert call(files, tmp_path) == 3


def test_packages_around_a_module_run_what_is_there_to_act(tmp_path: Path) -> None:
    files = {
        "p/__init__.py": "import sys\nfrom .two import a\nsys.modules['p'].marked = True\ndef unused(): return heavy\n",
        "p/two.py": "def a(): return 1\n",
        "loop.py": "import sys\nfrom p.two import a\ndef step(): return sys.modules['p'].marked, a()\n",
    }
    assert call(files, tmp_path) == (True, 1)
    again = {**files, "p/__init__.py": "STATE = []\nSTATE.append(1)\ndef unused(): return heavy\n"}
    assert part(again | {"loop.py": "from p.two import a\ndef step(): return a()\n"})["p/__init__.py"] == (
        "STATE = []\nSTATE.append(1)\n"
    )


def test_a_name_of_a_package_stands_before_its_submodule(tmp_path: Path) -> None:
    files = {
        "p/__init__.py": "from .two import two\n",
        "p/two.py": "def two(): return 'function'\n",
        "loop.py": "from p import two\nimport p\ndef step(): return two() + p.two()\n",
    }
    assert call(files, tmp_path) == "functionfunction"


def test_a_registry_in_another_module_is_filled(tmp_path: Path) -> None:
    files = {
        "reg.py": "REG = {}\ndef register(f):\n    REG[f.__name__] = f\n    return f\n",
        "plugins.py": "from reg import register\n@register\ndef one(): return 1\n@register\ndef two(): return 2\n",
        "loop.py": "import plugins\nfrom reg import REG\ndef step(): return sorted(REG)\n",
    }
    assert call(files, tmp_path) == ["one", "two"]
    assert "def two" in part(files)["plugins.py"]


def test_a_setting_made_from_outside_is_not_undone(tmp_path: Path) -> None:
    files = {
        "config.py": "DEBUG = False\ndef debug(): return DEBUG\n",
        "loop.py": "import config\nconfig.DEBUG = True\ndef step(): return config.debug()\n",
    }
    assert call(files, tmp_path) is True


def test_modules_that_import_each_other_find_each_other(tmp_path: Path) -> None:
    files = {
        "one.py": "from two import b\ndef a(n): return b(n - 1) if n else 'a'\n",
        "two.py": "import one\ndef b(n): return one.a(n - 1) if n else 'b'\n",
        "loop.py": "from one import a\ndef step(): return a(3)\n",
    }
    assert call(files, tmp_path) == "b"


def test_names_are_looked_up_lazily_and_missing_ones_are_missing(tmp_path: Path) -> None:
    files = {"loop.py": "import two\ndef step(): return hasattr(two, 'nothing'), 'a' in dir(two)\n", "two.py": TWO}
    files["two.py"] = "def a(): pass\n"
    assert call(files, tmp_path) == (False, True)
    missing = {"loop.py": "def step():\n    from two import nothing\n", "two.py": "def a(): pass\n"}
    with pytest.raises(ImportError, match="cannot import name 'nothing' from 'two'"):
        call(missing, tmp_path)


def test_a_child_process_imports_the_bundles_modules(project: Any) -> None:
    source = """
        import concurrent.futures, multiprocessing
        import pandas as pd
        from perennial import Loop
        from two import square

        loop = Loop("x", target="y")

        @loop.collect
        def rows():
            context = multiprocessing.get_context("spawn")
            with concurrent.futures.ProcessPoolExecutor(1, mp_context=context) as pool:
                return pd.DataFrame({"x": list(pool.map(square, [2, 3]))})

        @loop.train
        def model(X):
            return 1
    """
    project.write({"loop.py": source, "two.py": "def square(x): return x * x\n"})
    assert project.run().collected["rows"].x.tolist() == [4, 9]


def test_libraries_are_those_of_the_slice_only() -> None:
    source = "import polars as pl\nimport sklearn.ensemble\ndef step(): return pl\ndef o(): return sklearn\n"
    code = code_of({"loop.py": source})
    assert code.slice({"loop": {"step"}}).libraries == {"polars"}
    assert code.slice({"loop": {"o"}}).libraries == {"sklearn.ensemble"}


def test_a_modules_own_getattr_answers(tmp_path: Path) -> None:
    files = {
        "two.py": "def __getattr__(name):\n    if name == 'x': raise AttributeError(name)\n    return name * 2\n",
        "loop.py": "import two\ndef step(): return two.ab\n",
    }
    assert call(files, tmp_path) == "abab"
