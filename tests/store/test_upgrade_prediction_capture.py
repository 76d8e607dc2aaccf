"""F25: predictions and labels of before capture had layouts are counted and labelled after the upgrade as before."""

from __future__ import annotations

import shutil
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest
import sqlalchemy as sa

from perennial.capture.predictions import LabelIn, Predictions
from perennial.capture.reading import PredictionReader
from perennial.capture.tables import PREDICTED, to_parquet
from perennial.serve.frames import Predicted, encode, row_ids
from perennial.serve.segments import MAGIC, SegmentWriter, segments_in
from perennial.store.files import LocalFiles
from perennial.store.objects import ObjectStore
from perennial.store.records import Records
from perennial.store.schema import SCRIPTS, ensure_schema, head, revision_of

AT = 1_700_000_000_000_000
CHUNK = """INSERT INTO prediction_chunks
    (seq, endpoint, kind, digest, segment, start, "end", first_id, last_id, min_at, max_at, rows, errors, shadowed)
    VALUES (:seq, 'wage', 'prediction', :digest, '000001', 20, :end, :first, :last, :at, :at, 2, 0, 0)"""
SEGMENT = """INSERT INTO prediction_segments (name, "end", damaged) VALUES ('000001', :end, 1)"""
LABEL = """INSERT INTO prediction_labels (seq, endpoint, prediction_id, revision, value, at)
    VALUES (:seq, 'wage', :id, :revision, :value, :at)"""


def frame_of(first: str) -> Predicted:
    return Predicted(
        id=first, key=first, endpoint="wage", at=AT, latency_us=5, versions=[1, 1], arms=["live", "live"],
        entities=["p0", "p1"], inputs=[{"x": 0.5}, {"x": 1.5}], outputs=[{"prediction": 1.0}, {"prediction": 2.0}],
    )  # fmt: skip


@pytest.fixture(params=["sqlite", "postgresql"])
def old(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Records, list[str]]]:
    """A database as revision 0006 left it: a segment of which one request is taken up, with a label that was changed.

    Its second request came after that and lies behind it.
    """
    url = f"sqlite:///{tmp_path}/records.db"
    if request.param == "postgresql":
        url = request.getfixturevalue("pg_database")
    scripts = tmp_path / "scripts"
    (scripts / "versions").mkdir(parents=True)
    for path in (SCRIPTS / "versions").glob("000[123456]_*.py"):
        shutil.copy(path, scripts / "versions" / path.name)
    folder = tmp_path / "serving" / "segments"
    LocalFiles().mkdirs(folder)
    one, other = "018bcfe5680000000100000000", "018bcfe5680000000100000002"
    frames = [_framed(encode(frame_of(name))) for name in (one, other)]
    (folder / "000001.seg").write_bytes(MAGIC + b"".join(frames))
    end = len(MAGIC) + len(frames[0])
    ids = [name for first in (one, other) for name in row_ids(first, 2)]
    with Records.open(url) as records, ObjectStore(tmp_path / "objects") as objects:
        ensure_schema(records, scripts=scripts)
        digest = objects.put(to_parquet(_table(ids[:2])))

        def fill(connection: sa.Connection) -> None:
            put = lambda text, **values: connection.execute(sa.text(text), values)  # noqa: E731
            put(CHUNK, seq=1, digest=digest, end=end, first=ids[0], last=ids[1], at=AT)
            put(SEGMENT, end=end)
            for revision, value in ((1, b"1.5"), (2, b"2.5")):
                put(LABEL, seq=revision, id=ids[0], revision=revision, value=value, at=AT + revision)

        records.write(lambda tx: fill(tx.connection))
        yield records, ids


def test_F25_what_was_predicted_before_is_counted_found_and_labelled_as_before(
    old: tuple[Records, list[str]], tmp_path: Path
) -> None:
    records, ids = old
    ensure_schema(records)
    assert records.read(revision_of) == head()
    folder = tmp_path / "serving" / "segments"
    with ObjectStore(tmp_path / "objects") as objects:
        predictions = Predictions(records, objects, folder)
        accounts = predictions.accounts()
        assert (accounts.received, accounts.stored, accounts.dropped, accounts.damaged) == (2, 2, 0, 1)
        assert predictions.ingest().predictions == 2, "what lay behind it, and nothing twice"
        assert predictions.ingest().predictions == 0
        accounts = predictions.accounts()
        assert (accounts.received, accounts.stored, accounts.dropped) == (4, 4, 0)
        frame = PredictionReader(objects, predictions).predictions(endpoint="wage")
        assert sorted(frame["id"]) == ids
        found = predictions.find(prediction_id=ids[0])
        assert [(label.value, label.revision, label.source) for label in found.labels] == [(1.5, 1, ""), (2.5, 2, "")]
        assert (found.input, found.policy, found.flags) == ({"x": 0.5}, {}, [])
        told = predictions.label(endpoint="wage", labels=[LabelIn(prediction_id=ids[0], value=3.5)])
        assert (told.accepted, told.revised) == (1, 1)
        writer = SegmentWriter(folder, LocalFiles())
        assert [path.stem for path in segments_in(folder)] == ["000001", "000002"], "a number is never used again"
        writer.close()


def _framed(payload: bytes) -> bytes:
    return struct.pack("<II", len(payload), zlib.crc32(payload)) + payload


def _table(ids: list[str]) -> pl.DataFrame:
    """As the release before stored it: the columns of then."""
    then = list(PREDICTED)[: list(PREDICTED).index("shadow_version") + 1]
    rows = [
        {
            "id": name, "key": ids[0], "row": row, "at": AT, "status": 200, "version": 1, "arm": "live",
            "entity": f'"p{row}"', "input": f'{{"x":{row}.5}}', "prediction": str(row + 1), "value": row + 1.0,
            "latency_us": 5,
        }
        for row, name in enumerate(ids)
    ]  # fmt: skip
    return pl.DataFrame(rows, schema={name: PREDICTED[name] for name in then})
