"""What is in a `.keras` file, before Keras is asked to read it.

Keras's own safe mode has been got round again and again (through any function named in the configuration, through
layers that load another model, through vocabularies that are paths, through links in the HDF5 file), so it is not
what we rely on. This file is a zip of a configuration (JSON), weights (HDF5) and vocabularies. It counts as data only
if every class that it names is a layer or part of a layer of Keras's own, none of which runs code from the file or
opens another one, and if its weights lie in it. Everything else is code, or refused.
"""

from __future__ import annotations

import io
import json
import re
import zipfile
from collections.abc import Iterator, Mapping
from typing import Any, cast

from perennial.errors import Corrupt
from perennial.models.flavors.arrays import toolkit
from perennial.types import JSON, canonical_json

__all__ = ["canonical", "check", "code_in"]

CONFIG, WEIGHTS, METADATA = "config.json", "model.weights.h5", "metadata.json"
MAX_BYTES = 4 * 1024**3  # unpacked
MAX_RATIO = 100  # unpacked over packed; weights hardly shrink
_ASSET = re.compile(r"assets/[A-Za-z0-9_/.-]+")
_MODULES = re.compile(
    r"keras|keras\.(activations|constraints|dtype_policies|initializers|layers|losses|metrics|models|optimizers|ops"
    r"|quantizers|regularizers|src\.(models|ops)(\.[a-z_]+)*)"
)
_CLASS = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
# Values that Keras writes in this form, without a class behind them.
_VALUES = frozenset({"__tuple__", "__slice__", "__ellipsis__", "__tensor__", "__numpy__", "__keras_tensor__"})
# Layers of Keras's own that run what is in the file, load another file, or hold a module of another library.
_PROGRAMS = frozenset({"Lambda", "TFSMLayer", "TorchModuleWrapper", "JaxLayer", "FlaxLayer"})


def check(data: bytes, where: str) -> dict[str, JSON]:
    """The configuration in a `.keras` file whose parts are what they should be.

    Raises:
        Corrupt: It is no such file, unpacks to more than it may, or its weights lie somewhere else.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            _check_entries(archive.infolist(), where)
            config = json.loads(archive.read(CONFIG))
            _check_weights(archive.read(WEIGHTS), where)
    except (zipfile.BadZipFile, KeyError, ValueError, NotImplementedError, RecursionError) as error:
        raise _corrupt(f"this is no Keras file: {type(error).__name__}: {error}", where) from error
    if not isinstance(config, dict):
        raise _corrupt("this is no Keras file: its configuration is no object", where)
    return cast(dict[str, JSON], config)


def code_in(config: Mapping[str, JSON]) -> str | None:
    """The first thing in a configuration that is code or reads a file, in words; None where all is data."""
    for part in _parts(cast(JSON, config)):
        name, module = part.get("class_name"), part.get("module")
        if not isinstance(name, str):
            return f"a class that is named {name!r}"
        if name in _VALUES:
            continue
        if module is None and isinstance(part.get("config"), dict) and part.get("registered_name") is None:
            return f"the class {name}, of no module"
        is_keras = isinstance(module, str) and _MODULES.fullmatch(module) is not None
        if not is_keras or not _CLASS.fullmatch(name) or part.get("registered_name") not in (None, name):
            return f"the class {name} of {module or 'no module'}"
        if name in _PROGRAMS:
            return f"a layer {name}"
        inner = part.get("config")
        if isinstance(inner, dict):
            vocabulary = inner.get("vocabulary") or inner.get("idf_weights")
            if isinstance(vocabulary, str):
                return f"a layer {name} that reads the file {vocabulary!r}"
    return None


def canonical(data: bytes) -> bytes:
    """The file without what differs from save to save (dates), and without how it was trained (loss, optimizer)."""
    target = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as read, zipfile.ZipFile(target, "w") as written:
        for name in sorted(read.namelist()):
            content = read.read(name)
            if name in (CONFIG, METADATA):
                told = cast(dict[str, JSON], json.loads(content))
                told.pop("compile_config", None)
                told.pop("date_saved", None)
                content = canonical_json(told) if name == METADATA else json.dumps(told).encode()
            entry = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
            entry.external_attr = 0o600 << 16
            written.writestr(entry, content)
    return target.getvalue()


def _parts(value: JSON) -> Iterator[dict[str, JSON]]:
    """Every object that names a class, however deep."""
    if isinstance(value, list):
        for item in value:
            yield from _parts(item)
    elif isinstance(value, dict):
        if "class_name" in value:
            yield value
        for item in value.values():
            yield from _parts(item)


def _check_entries(entries: list[zipfile.ZipInfo], where: str) -> None:
    names = [entry.filename for entry in entries]
    if len({name.casefold() for name in names}) != len(names):
        raise _corrupt("a Keras file holds two files of one name", where)
    for entry in entries:
        name = entry.filename
        is_known = name in (CONFIG, WEIGHTS, METADATA) or (_ASSET.fullmatch(name) and ".." not in name)
        if not is_known or (entry.external_attr >> 16) & 0o170000 not in (0, 0o100000, 0o040000):
            raise _corrupt(f"a Keras file holds {name!r}, which does not belong there", where)
        if entry.file_size > MAX_RATIO * max(entry.compress_size, 1):
            raise _corrupt(f"{name!r} in a Keras file unpacks to {entry.file_size} bytes", where)
    if sum(entry.file_size for entry in entries) > MAX_BYTES:
        raise _corrupt("a Keras file unpacks to more than 4 GiB", where)


def _check_weights(data: bytes, where: str) -> None:
    """Only tensors that lie in the file itself."""
    h5py = toolkit("h5py", "h5py", "tensorflow")
    with h5py.File(io.BytesIO(data), "r") as file:
        size = 0
        waiting: list[Any] = [file]
        while waiting:
            group = waiting.pop()
            for name in group:
                if not isinstance(group.get(name, getlink=True), h5py.HardLink):
                    raise _corrupt(f"the weights {name!r} of a Keras file are a link", where)
                found = group[name]
                if isinstance(found, h5py.Group):
                    waiting.append(found)
                    continue
                if found.external or found.is_virtual:
                    raise _corrupt(f"the weights {name!r} of a Keras file lie in another file", where)
                size += int(found.nbytes)
                if size > MAX_RATIO * len(data):
                    raise _corrupt("the weights of a Keras file claim to be larger than the file", where)


def _corrupt(what: str, where: str) -> Corrupt:
    return Corrupt(what, where=where, remedy="do not use this package")
