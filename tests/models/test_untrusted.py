"""Nobody vouched for it: each format that can run code is refused, each content that is not of its format is refused.

The matrix is made from the table of flavors, so that a new one is in it from its first day.
"""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import skops.io

from perennial.errors import Corrupt, PerennialError, Refused, UserCodeError
from perennial.models.facts.compilation import Compilation
from perennial.models.flavors import FLAVORS, flavor_named
from perennial.models.importing import Asked, import_model
from perennial.models.package import COMPILED, PackageManifest, Predictor, Settings, checkout
from perennial.models.policy import types_in
from perennial.models.signature import Field, Signature
from perennial.store.objects import ObjectStore
from perennial.types import Digest

X = Field(name="x", type="float64")
SIGNATURE = Signature(inputs=[X], columns=[X], output=Field(name="y", type="float64"), task="regression")


def _cells() -> Iterator[Any]:
    for name in FLAVORS:
        for saved_as, form in flavor_named(name).formats.items():
            yield pytest.param(name, saved_as, form, id=f"{name}-{saved_as}")


CELLS = list(_cells())


class Evil:
    """Would leave a file behind if it were unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> Any:
        return os.system, (f"touch '{self.marker}'",)


def package(
    objects: ObjectStore, kind: str, saved_as: str, main: str, content: bytes, *, runs_code: bool, **more: bytes
) -> Digest:
    """A package that somebody else put together: consistent in itself, whatever it claims."""
    files = {
        main: content,
        "signature.json": msgspec.json.encode(SIGNATURE),
        "model.json": msgspec.json.encode(Settings(options={})),
        "golden.json": json.dumps({"records": [], "answers": []}).encode(),
        COMPILED: msgspec.json.encode(Compilation(form=None, reason="none")),
        **more,
    }
    named = {path: (objects.put(data), len(data)) for path, data in files.items()}
    manifest = PackageManifest(kind=kind, saved_as=saved_as, runs_code=runs_code, files=named)
    return objects.put(manifest.to_bytes())


@pytest.fixture
def objects(tmp_path: Path) -> ObjectStore:
    return ObjectStore(tmp_path / "objects")


@pytest.mark.parametrize("name, saved_as, form", CELLS)
def test_C09_a_format_that_can_run_code_is_loaded_only_where_somebody_vouched(
    name: str, saved_as: str, form: Any, objects: ObjectStore, tmp_path: Path
) -> None:
    marker = tmp_path / "marker"
    # The most eager content: a pickle's first opcodes where the format allows them.
    content = pickle.dumps(Evil(marker), protocol=5) if form.begins in (b"", b"\x80") else form.begins + b"rest"
    digest = package(objects, name, saved_as, form.main, content, runs_code=form.runs_code)
    folder = checkout(digest, objects, tmp_path / "cache")
    if form.runs_code:
        with pytest.raises(Refused, match=f"holds code \\({name}, {saved_as}\\), and nobody has vouched"):
            Predictor.load(folder)
        claims = package(objects, name, saved_as, form.main, content, runs_code=False)
        with pytest.raises(Corrupt, match="claims to hold no code"):
            Predictor.load(checkout(claims, objects, tmp_path / "cache"))
    else:  # it is looked at, and is none
        with pytest.raises((Corrupt, UserCodeError)):
            Predictor.load(folder)
    assert not marker.exists()


@pytest.mark.parametrize("name, saved_as, form", CELLS)
def test_C09_content_of_another_format_is_refused_whatever_is_claimed(
    name: str, saved_as: str, form: Any, objects: ObjectStore, tmp_path: Path
) -> None:
    marker = tmp_path / "marker"
    evil = pickle.dumps(Evil(marker), protocol=5)
    others = [evil, b"{L\x00\x00\x00\x00", b"tree\nversion=v4", b"PK\x03\x04rest", b"\x1f\x8brest", b"plain text"]
    for content in others:
        if form.begins and content.startswith(form.begins):
            continue
        digest = package(objects, name, saved_as, form.main, content, runs_code=form.runs_code)
        folder = checkout(digest, objects, tmp_path / "cache")
        # Even who vouches for code gets no other loader than that of the format.
        with pytest.raises(Corrupt if form.begins else (Corrupt, UserCodeError)):
            Predictor.load(folder, trusted=True)
        assert not marker.exists()


@pytest.mark.parametrize("claim", [("nothing", "pickle"), ("sklearn", "nothing"), ("onnx", "pickle")])
def test_C09_an_unknown_toolkit_or_format_is_refused(
    claim: tuple[str, str], objects: ObjectStore, tmp_path: Path
) -> None:
    digest = package(objects, *claim, "model.pkl", b"\x80", runs_code=False)
    with pytest.raises(Corrupt):
        Predictor.load(checkout(digest, objects, tmp_path / "cache"), trusted=True)


class Odd:
    """A type that no list has."""


def test_C09_a_skops_file_with_a_type_that_policy_does_not_list_is_refused_by_name(
    objects: ObjectStore, tmp_path: Path
) -> None:
    from sklearn.linear_model import Ridge

    model = Ridge().fit([[0.0], [1.0]], [0.0, 1.0])
    model.extra = Odd()
    (tmp_path / "model.skops").write_bytes(skops.io.dumps(model))
    with pytest.raises(Corrupt, match=rf"the type .*{Odd.__name__}, which is not allowed here"):
        import_model(
            tmp_path / "model.skops", Asked(sample={"x": [1.0]}), objects=objects, environment="", provenance={}
        )


@pytest.mark.parametrize("names", ["os.system", "builtins.eval", "no_dot", "a.b, subprocess.Popen", "a.b c"])
def test_C09_what_builds_a_shell_can_not_be_made_a_trusted_type(names: str) -> None:
    with pytest.raises(PerennialError):
        types_in(names)


def test_C10_a_scan_only_warns_and_what_cannot_be_read_counts_as_unsafe(objects: ObjectStore, tmp_path: Path) -> None:
    from perennial.models.scanning import scan

    marker = tmp_path / "marker"
    whole = pickle.dumps(Evil(marker), protocol=4)
    (tmp_path / "evil.pkl").write_bytes(whole)
    (tmp_path / "cut.pkl").write_bytes(whole[:-3])
    (tmp_path / "code.py").write_text("raise SystemExit")
    (tmp_path / "fine.txt").write_text("tree")
    told = scan({path.name: path for path in tmp_path.glob("*.*")})
    assert len(told) == 3
    assert "code.py is code" in told
    assert any("evil.pkl is a pickle, which is code; it names posix.system" in line for line in told)
    assert any("cut.pkl cannot be read to its end as a pickle" in line and "unsafe" in line for line in told)
    assert not marker.exists()
    # Nothing found is no permission: the format decides, and nobody vouched.
    innocent = pickle.dumps({"a": 1}, protocol=5)
    digest = package(objects, "python", "pickle", "model.pkl", innocent, runs_code=True)
    with pytest.raises(Refused):
        Predictor.load(checkout(digest, objects, tmp_path / "cache"))


# What a server does with a version that it knows: lists, shows, draws its card, hands out its files, publishes what
# shall run. An audit hook writes down whatever would be a sign that something of the model ran.
SERVER = """
import json, os, sys
from pathlib import Path
place, digest = Path(sys.argv[1]), sys.argv[2]
seen = []
def hook(event, arguments):
    if event in ("pickle.find_class", "os.system", "os.exec", "os.posix_spawn", "os.fork", "subprocess.Popen",
                 "socket.connect"):
        seen.append([event, repr(arguments)[:200]])
    elif event == "open" and isinstance(arguments[0], str) and isinstance(arguments[1], str):
        if set(arguments[1]) & set("wax+") and not os.path.abspath(arguments[0]).startswith((str(place), "/dev/null")):
            seen.append([event, repr(arguments)[:200]])
    elif event in ("exec", "compile") and str(place) in repr(arguments):
        seen.append([event, repr(arguments)[:200]])
from perennial.clock import SystemClock
from perennial.config import Settings
from perennial.store.workspace_folder import create_folder, open_folder
from perennial.workspace import Owned, Services
import perennial.registry.card.html, perennial.registry.card.markdown, perennial.api.mlflow.packages as packages
import sqlalchemy, alembic, jinja2, polars
folder = open_folder(place)
owned = Owned(folder, Settings())
ws = owned.workspace
ws.models.list()  # what is imported on the way is imported now
sys.addaudithook(hook)
version = ws.models.register(name="evil", package=digest, origin="imported")
told = {"state": version.state, "trusted": ws.models.is_trusted(package=digest)}
ws.models.get(name="evil"); ws.models.list()
card = ws.cards.get(name="evil", version=1)
told["card"] = len(perennial.registry.card.html.html(card))
services = Services(ws)
told["files"] = [entry.path for entry in packages.entries(services, "packages/evil/1")]
packages.file_at(services, "packages/evil/1/MLmodel")
try:
    ws.endpoints.start_rollout(name="evil", version=1, stages=[], because="")
except Exception as error:
    told["deploy"] = type(error).__name__
ws.models.reject(name="evil", version=1, comment="no")
ws.endpoints.publish()
told["seen"] = seen
print(json.dumps(told))
ws.close()
"""


def test_C08_a_server_that_knows_an_evil_model_runs_nothing_of_it(tmp_path: Path) -> None:
    from perennial.clock import SystemClock
    from perennial.store.workspace_folder import create_folder

    marker = tmp_path / "marker"
    folder = create_folder(tmp_path / ".perennial", now=SystemClock().now())
    with ObjectStore(folder.objects) as objects:
        digest = package(
            objects,
            "python",
            "pickle",
            "model.pkl",
            pickle.dumps(Evil(marker), protocol=5),
            runs_code=True,
            MLmodel=b'{"flavors": {"python_function": {"loader_module": "os"}}}',
            **{"code/loop.py": f"open({str(marker)!r}, 'w')".encode()},
        )
    done = subprocess.run(
        [sys.executable, "-c", SERVER, str(folder.root), digest], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["seen"] == []
    assert told["state"] == "candidate"
    assert not told["trusted"]
    assert told["deploy"] == "Refused"
    assert "model.pkl" in told["files"]
    assert not marker.exists()


# The import of an evil folder of MLflow's, and of an archive of one, with a hook that is told everything.
COMMAND = """
import json, os, sys
from pathlib import Path
source, place = Path(sys.argv[1]), sys.argv[2]
from perennial.models.importing import Asked, import_model
from perennial.store.objects import ObjectStore
import yaml, polars, perennial.models.keeping
seen = []
def hook(event, arguments):
    if event in ("pickle.find_class", "os.system", "os.exec", "os.posix_spawn", "os.fork", "subprocess.Popen",
                 "socket.connect"):
        seen.append([event, repr(arguments)[:200]])
    elif event in ("exec", "compile") and "evil" in repr(arguments):
        seen.append([event, repr(arguments)[:200]])
objects = ObjectStore(Path(place) / "objects")
sys.addaudithook(hook)
made = import_model(source, Asked(), objects=objects, environment="", provenance={})
print(json.dumps({"seen": seen, "package": made.package, "verdicts": [v.says for v in made.verdicts]}))
"""


def evil_folder(folder: Path, marker: Path) -> Path:
    folder.mkdir()
    inputs = json.dumps([{"type": "double", "name": "x", "required": True}])
    outputs = json.dumps([{"type": "double"}])
    block = {"loader_module": "evil", "code": "code", "data": "model.pkl"}
    told = {"flavors": {"python_function": block}, "signature": {"inputs": inputs, "outputs": outputs}}
    (folder / "MLmodel").write_text(json.dumps(told))
    (folder / "model.pkl").write_bytes(pickle.dumps(Evil(marker)))
    (folder / "code").mkdir()
    (folder / "code" / "evil.py").write_text(f"open({str(marker)!r}, 'w')")
    return folder


@pytest.mark.parametrize("form", ["folder", "zip"])
def test_C08_to_bring_in_code_of_a_stranger_runs_nothing_of_it(tmp_path: Path, form: str) -> None:
    marker = tmp_path / "marker"
    source = evil_folder(tmp_path / "evil", marker)
    if form == "zip":
        import zipfile

        source = tmp_path / "evil.zip"
        with zipfile.ZipFile(source, "w") as opened:
            for path in (tmp_path / "evil").rglob("*"):
                opened.write(path, path.relative_to(tmp_path))
    done = subprocess.run(
        [sys.executable, "-c", COMMAND, str(source), str(tmp_path)], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["seen"] == []
    assert "a person approved it" in told["verdicts"][0]
    assert "code/evil.py is code" in told["verdicts"][1]
    assert not marker.exists()
    with pytest.raises(Refused), ObjectStore(tmp_path / "objects") as objects:
        Predictor.load(checkout(Digest(told["package"]), objects, tmp_path / "cache"))
