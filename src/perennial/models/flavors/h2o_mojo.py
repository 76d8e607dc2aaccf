"""MOJO files: exported from a trained model, checked before they are read, converted from h2o's binary form.

h2o's open releases export MOJOs up to 3.46.0.11; from 3.46.0.12 on its client refuses and points to H2O-3 Secure. That
is an error here, with the reason that h2o gives.
"""

from __future__ import annotations

import importlib.util
import io
import os
import re
import sys
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl

from perennial.errors import ConfigError, Corrupt, DataError, UserCodeError
from perennial.models.flavors.processes.child import Child
from perennial.store.scratch import scratch_folder, scratch_of_user

__all__ = ["BEGINS", "Mojo", "check_mojo", "convert_mlflow", "exported", "jar", "read_mlflow", "read_mojo", "recorded"]

BEGINS = b"PK\x03\x04"
CONVERT_S = 300.0  # to start a cluster, read a binary model and export it


@dataclass(frozen=True)
class Mojo:
    """A model as its MOJO: what a train step returns, since h2o's own objects only name what is in a cluster.

    `data`: the file's bytes. `curves`: what training recorded, by name.
    """

    data: bytes = field(repr=False)
    curves: Mapping[str, list[float]] = field(default_factory=dict[str, list[float]], repr=False)

    @classmethod
    def of(cls, model: Any) -> Mojo:
        """Of a trained estimator, while its cluster is up."""
        return cls(exported(model), recorded(model))

    def predict(self, X: Any) -> Any:
        """Numbers or labels for a polars frame, by a JVM of their own: for a look; a package keeps its process."""
        from perennial.models.flavors.h2o import H2OScorer

        return H2OScorer.answers_of(self.data, X).values


def read_mojo(path: str | os.PathLike[str]) -> Mojo:
    """The MOJO in a file.

    Raises:
        Corrupt: It is none.
    """
    data = Path(path).read_bytes()
    check_mojo(data, str(path))
    return Mojo(canonical(data))


def read_mlflow(folder: Path, block: Mapping[str, Any]) -> Mojo:
    """The model in a folder that MLflow saved, by the block of h2o in its MLmodel; see `convert_mlflow`."""
    return Mojo(convert_mlflow(folder / Path(str(block.get("data", "model.h2o"))).name))


def leader(model: Any) -> Any:
    """The model itself; of an AutoML, its best."""
    return model.leader if type(model).__name__ == "H2OAutoML" else model


def recorded(model: Any) -> dict[str, list[float]]:
    """What training recorded about the model, one value for each step at which it was scored."""
    if isinstance(model, Mojo):
        return dict(model.curves)
    history = leader(model).scoring_history()
    if history is None:
        return {}
    frame = pl.DataFrame(history.to_dict("list"), strict=False)
    return {
        name: frame[name].cast(pl.Float64()).to_list()
        for name in frame.columns
        if name.startswith(("training_", "validation_", "objective", "negative_log_likelihood"))
        and frame[name].dtype.is_numeric()
        and frame[name].is_finite().all()
    }


def exported(model: Any) -> bytes:
    """The model's MOJO, asked of the cluster that holds it."""
    if isinstance(model, Mojo):
        return model.data
    model = leader(model)
    jar()
    with scratch_folder(scratch_of_user()) as folder:
        try:
            path = model.download_mojo(path=str(folder))
        except Exception as error:  # h2o's client raises classes of its own and those of what it talks through
            raise DataError(
                f"h2o does not export the model as a MOJO: {error}",
                remedy="take an algorithm that has one, and h2o 3.46.0.11 or a licensed H2O-3 Secure; keep its cluster "
                "up",
            ) from error
        return canonical(Path(path).read_bytes())


def check_mojo(data: bytes, where: str) -> None:
    """Refuse what is no MOJO before Java reads it.

    Raises:
        Corrupt: Not a zip, or one without a description of a model; a POJO is Java source.
    """
    remedy = "save it with model.download_mojo(path)"
    if not data.startswith(BEGINS):
        is_java = b"extends GenModel" in data
        what = "this is a POJO, Java source, which would be code" if is_java else "this is no MOJO: it is no zip"
        raise Corrupt(what, where=where, remedy=remedy)
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as read:
            names = read.namelist()
    except zipfile.BadZipFile as error:
        raise Corrupt(f"this is no MOJO: {error}", where=where, remedy=remedy) from error
    if "model.ini" not in names:
        raise Corrupt("this is no MOJO: it holds no model.ini", where=where, remedy=remedy)


def convert_mlflow(folder: Path) -> bytes:
    """The MOJO of an h2o model that MLflow saved in its binary form; `folder` holds its `h2o.yaml`.

    Starts a cluster on loopback for it and ends it. To read the binary is to run what it says: whoever calls this
    vouches for it. It must have been saved by the same version of h2o.

    Raises:
        Corrupt: There is no h2o model there. UserCodeError: h2o does not read or export it. ConfigError: No h2o here.
    """
    described = folder / "h2o.yaml"
    if not described.is_file():
        raise Corrupt("there is no h2o.yaml", where=str(folder), remedy="name the data folder of MLflow's h2o model")
    # Only one line of it matters, and the file must lie in this folder, whatever the line says.
    lines = (line.partition(":") for line in described.read_text().splitlines())
    name = next((value.strip().strip("'\"") for key, _, value in lines if key == "model_file"), "")
    path = folder / Path(name).name
    if not name or not path.is_file():
        raise Corrupt(f"the model file {name!r} is not there", where=str(folder), remedy="copy the whole folder")
    jar()
    command = [sys.executable, "-m", "perennial.models.flavors.processes.h2o_binary"]
    try:
        child = Child(command, str(path.resolve()).encode(), name="h2o", start_s=CONVERT_S)
    except UserCodeError as error:
        raise UserCodeError(
            f"the h2o model is not converted: {error.what}",
            where=str(path),
            remedy="install the version of h2o that saved it (h2o_version in its MLmodel)",
        ) from error
    child.close()
    check_mojo(child.hello, str(path))
    return canonical(child.hello)


def canonical(mojo: bytes) -> bytes:
    """The same MOJO without dates: of its files and of its export."""
    target = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(mojo)) as read, zipfile.ZipFile(target, "w") as written:
        for name in read.namelist():
            entry = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = 0o600 << 16
            data = read.read(name)
            if name == "model.ini":
                data = re.sub(rb"(?m)^timestamp = .*$", b"timestamp = 1980-01-01T00:00:00.000Z", data)
            written.writestr(entry, data)
    return target.getvalue()


def jar() -> Path:
    """The jar with h2o's scoring library.

    Raises:
        ConfigError: h2o, or what connects it with Python, is not installed.
    """
    remedy = 'pip install "perennial[h2o]"; it also needs a Java runtime, 8 to 17'
    for module, package in (("h2o", "h2o"), ("jpype", "JPype1")):
        if importlib.util.find_spec(module) is None:
            raise ConfigError(f"{package} is not installed", remedy=remedy)
    spec = importlib.util.find_spec("h2o")
    assert spec is not None
    places = [Path(place) / "backend" / "bin" / "h2o.jar" for place in spec.submodule_search_locations or []]
    found = next((place for place in places if place.is_file()), None)
    if found is None:
        raise ConfigError("the installed h2o comes without its jar", remedy="pip install h2o, not h2o-client")
    return found
