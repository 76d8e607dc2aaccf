"""A bundle holds the code that a loop reaches, found without importing it."""

from __future__ import annotations

from typing import Any

import pytest

from perennial.errors import ConfigError, Corrupt, LoopError
from perennial.pipeline.bundle import load_bundle, make_bundle
from perennial.types import Digest

FILES = {
    "loop.py": "import os\nimport shop.features as f\nfrom helper import x\nif False:\n    from late import y\n",
    "helper.py": "def g():\n    import inner\n",
    "inner.py": "",
    "late.py": "raise RuntimeError('imported')\n",
    "unused.py": "",
    "os.py": "raise RuntimeError('the standard library is meant')\n",
    "src/shop/__init__.py": "from .prices import price\n",
    "src/shop/prices.py": "from . import units\nfrom ..shop.deep.more import z\n",
    "src/shop/features.py": "from .prices import other\n",
    "src/shop/units.py": "",
    "src/shop/deep/more.py": "from ...shop import units\n",
    "src/shop/unused.py": "",
    "requirements.txt": "polars==2\n",
}


def test_every_module_that_is_reached_is_in_it_and_no_other(project: Any) -> None:
    project.write(FILES)
    bundle = project.bundle()
    assert dict(bundle.modules) == {
        "loop": "loop.py",
        "helper": "helper.py",
        "inner": "inner.py",
        "late": "late.py",
        "shop": "src/shop/__init__.py",
        "shop.prices": "src/shop/prices.py",
        "shop.features": "src/shop/features.py",
        "shop.units": "src/shop/units.py",
        "shop.deep.more": "src/shop/deep/more.py",
    }
    assert set(bundle.files) == {*bundle.modules.values(), "requirements.txt"}
    assert (bundle.module, bundle.lock) == ("loop", "requirements.txt")
    assert load_bundle(bundle.digest, project.objects) == bundle


def test_equal_code_has_one_digest_wherever_it_lies(project: Any, tmp_path: Any) -> None:
    project.write(FILES)
    first = project.bundle()
    moved = tmp_path / "elsewhere"
    project.folder.rename(moved)
    project.folder = moved
    assert project.bundle().digest == first.digest
    project.write({"inner.py": "# changed"})
    assert project.bundle().digest != first.digest
    moved.rename(tmp_path / "project")


def test_a_loop_in_a_package_has_its_packages_name(project: Any) -> None:
    project.write({"app/__init__.py": "", "app/loop.py": "from . import steps\n", "app/steps.py": ""})
    bundle = make_bundle(project.folder / "app" / "loop.py", project.folder, project.objects)
    assert bundle.module == "app.loop"
    assert set(bundle.modules) == {"app", "app.loop", "app.steps"}


def test_a_computed_import_takes_in_all_that_it_could_mean(project: Any) -> None:
    project.write({"loop.py": "import p.a\n", "p/__init__.py": "", "p/b.py": "", "p/c/d.py": "", "beside.py": ""})
    project.write({"p/a.py": "import importlib\ndef f(n): return importlib.import_module('p.' + n)\n"})
    assert set(project.bundle().modules) == {"loop", "p", "p.a", "p.b", "p.c.d"}


def test_materialise_mends_what_is_missing_or_changed(project: Any) -> None:
    project.write(FILES)
    bundle = project.bundle()
    folder = project.place(bundle)
    (folder / "helper.py").write_text("changed")
    (folder / "src/shop/units.py").unlink()
    assert project.place(bundle) == folder
    assert {path: (folder / path).read_text() for path in bundle.files} == {path: FILES[path] for path in bundle.files}


@pytest.mark.parametrize("path", ["loop.py", "helper.py"])
def test_code_that_does_not_parse_is_told_with_its_line(project: Any, path: str) -> None:
    project.write({**FILES, path: "a = 1\ndef broken(:\n"})
    if path != "loop.py":
        project.write({"loop.py": "import helper\n"})
    with pytest.raises(LoopError, match=f"{path} is not Python") as caught:
        project.bundle()
    assert caught.value.where == f"{path}:2"


def test_a_file_that_is_not_there_or_not_in_the_project_is_told(project: Any, tmp_path: Any) -> None:
    with pytest.raises(ConfigError, match=r"no file loop.py"):
        project.bundle()
    (tmp_path / "loop.py").write_text("")
    with pytest.raises(ConfigError, match="is not in the project"):
        make_bundle(tmp_path / "loop.py", project.folder, project.objects)


def test_another_object_is_not_taken_for_a_bundle(project: Any) -> None:
    digest: Digest = project.objects.put(b"{}")
    with pytest.raises(Corrupt, match="not a code bundle"):
        load_bundle(digest, project.objects)
