"""Answers rows with an h2o MOJO by h2o's own scoring library, until the end of its input. No cluster is involved.

Started by `models.flavors.h2o` as `python -m perennial.models.flavors.processes.jvm JAR ANSWERS`. A JVM lives in this
process through JPype, so a Java runtime is enough and nothing is compiled. The first message is the MOJO; its answer
describes the model. A message after that is a matrix of doubles, one row for each row, in the form that `score0` takes;
its answer is the matrix that `score0` gave, and for each row on which it failed, why.
"""

from __future__ import annotations

import json
import struct
import sys
from typing import Any

import numpy as np

from perennial.models.flavors.processes.messages import received, send

__all__ = ["main"]

try:
    import jpype  # pyright: ignore[reportMissingImports]  # in the extra
except ImportError:  # told by the flavor before this process is started
    jpype: Any = None

_LENGTH = struct.Struct("<i")
MIN_HEAP_MIB = 512
HEAP_PER_MOJO = 16  # a MOJO is compressed trees and text; read, it is several times its size


def main() -> None:
    """Answer until the input ends."""
    jar, descriptor = sys.argv[1], int(sys.argv[2])
    mojo = received()
    if mojo is None:
        return
    model: Any = None

    def load() -> bytes:
        nonlocal model
        # The class path is given to the JVM itself: JPype's own loader would first list the jar, which takes seconds.
        # -Xrs leaves signals alone; the collector with one thread is the one for a process beside others.
        heap = MIN_HEAP_MIB + HEAP_PER_MOJO * len(mojo) // 2**20
        jpype.startJVM("-Xrs", "-XX:+UseSerialGC", f"-Xmx{heap}m", f"-Djava.class.path={jar}")
        model = Mojo(mojo)
        return json.dumps(model.described).encode()

    send(descriptor, load)
    while (message := received()) is not None:
        send(descriptor, lambda rows=message: model.answer(rows))


class Mojo:
    """A MOJO in this process's JVM."""

    def __init__(self, data: bytes) -> None:
        factory = jpype.JClass("hex.genmodel.MojoReaderBackendFactory")
        memory = jpype.JClass("hex.genmodel.MojoReaderBackendFactory$CachingStrategy").MEMORY
        stream = jpype.JClass("java.io.ByteArrayInputStream")(data)
        self._model = jpype.JClass("hex.genmodel.MojoModel").load(factory.createReaderBackend(stream, memory))
        self._width = int(self._model.nfeatures())
        self._size = int(self._model.getPredsSize())
        offset = self._model.getOffsetName()
        self._has_offset = offset is not None
        self._response = str(self._model.getResponseName()) if self._model.isSupervised() else None
        domain = None if self._response is None else self._model.getDomainValues(self._response)
        self.described: dict[str, object] = {
            "algorithm": str(self._model._algoName),  # noqa: SLF001  # Java fields, public there
            "version": str(self._model._h2oVersion),  # noqa: SLF001
            "category": str(self._model.getModelCategory()),
            "classes": None if domain is None else [str(level) for level in domain],
            "offset": None if offset is None else str(offset),
            "width": self._width,
            "columns": self._columns(),
        }

    def answer(self, message: bytes) -> bytes:
        """Rows of doubles in, with the offset last where the model has one; predictions out."""
        width = self._width + self._has_offset
        given = np.frombuffer(message, dtype="<f8").reshape(-1, width)
        rows = jpype.JArray(jpype.JDouble, 2)(given[:, : self._width])
        found = jpype.JArray(jpype.JDouble, 2)(np.full((len(given), self._size), np.nan))
        score = self._model.score0
        errors: list[tuple[int, str]] = []
        for i in range(len(given)):
            try:
                if self._has_offset:
                    score(rows[i], float(given[i, -1]), found[i])
                else:
                    score(rows[i], found[i])
            except jpype.JException as error:
                errors.append((i, str(error)))
        told = json.dumps(errors).encode()
        return _LENGTH.pack(len(told)) + told + np.asarray(found, dtype="<f8").tobytes()

    def _columns(self) -> list[dict[str, object]]:
        """Which places of a row each column fills, and with what: h2o's own encoders are asked once for each level."""
        encoding = self._model.getCategoricalEncoding()
        mapping = encoding.createColumnMapping(self._model)
        encoders = encoding.createCategoricalEncoders(self._model, mapping)
        names = self._model.getOrigNames() or self._model.getNames()
        domains = self._model.getOrigDomainValues() or self._model.getDomainValues()
        levels = {str(name): domain for name, domain in zip(names, domains, strict=False)}
        found: list[dict[str, object]] = []
        for entry in mapping.entrySet():
            name, place = str(entry.getKey()), int(entry.getValue())
            if name == self._response or place >= self._width:
                continue
            encoder = encoders.get(entry.getValue())
            if encoder is None:
                found.append({"name": name, "places": [place], "levels": None, "values": None})
                continue
            texts = [str(level) for level in levels[name]]
            table = np.array([self._encoded(encoder, text) for text in [*texts, None]])
            places = np.flatnonzero(~np.isnan(table).all(axis=0)).tolist()
            values = [[None if np.isnan(value) else value for value in row] for row in table[:, places].tolist()]
            found.append({"name": name, "places": places, "levels": texts, "values": values})
        return found

    def _encoded(self, encoder: Any, text: str | None) -> Any:
        """A row in which this column alone is filled; text None is a missing value."""
        row = jpype.JArray(jpype.JDouble)(np.full(self._width, np.nan))
        if text is None:
            encoder.encodeNA(row)
        elif not encoder.encodeCatValue(text, row):
            raise ValueError(f"h2o does not encode its own level {text!r}")
        return np.asarray(row)


if __name__ == "__main__":
    main()
