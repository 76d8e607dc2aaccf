"""What is known of an endpoint before a moment, put into the arrays that monitors, judges and policies work on."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import msgspec
import numpy as np
import polars as pl
from numpy.typing import NDArray

from perennial import stats
from perennial.capture.labels import LabelRow
from perennial.capture.reading import PredictionReader
from perennial.capture.tables import text
from perennial.clock import iso
from perennial.deploy.endpoints import Endpoint, Rollout
from perennial.deploy.judge import Observed
from perennial.loop.declaration import Declaration
from perennial.models.package import read_manifest
from perennial.models.reference import Reference, count
from perennial.models.signature import Signature
from perennial.monitor.adapting import follow_labels
from perennial.monitor.captured import held_out_rows
from perennial.monitor.findings import Finding, NewFinding
from perennial.monitor.watching.watch import LossReference, Shift, detect_drop, find_shift, loss_reference
from perennial.monitor.windows import DAY, Window, closed_windows
from perennial.registry.versions import package_of
from perennial.renew.due import DueStep
from perennial.renew.policy import Correctable, Harm
from perennial.renew.rooms import Rooms
from perennial.renew.watching import Watcher
from perennial.serve.frames import first_id, moment_of
from perennial.store.decoding import ready
from perennial.types import Micros

__all__ = ["Observer", "losses_of", "missed_by"]

Floats = NDArray[np.float64]
SLOW_US = 1_000_000  # an answer slower than this is a bad one where the loop asks for no latency
MIN_HARM_ROWS = 30
HARM_PROB = 0.95
DEFAULT_DROP = {"one_false_alarm_in": 100_000, "tolerance": 0.1}  # watched also where nothing retrains on it
DEFAULT_SHIFT = {"tolerance": 0.05, "min_rows": 500}


class Observer:
    """One endpoint as it was before `now`. Made anew for each pass; reads each thing once."""

    def __init__(
        self,
        rooms: Rooms,
        endpoint: Endpoint,
        declaration: Declaration,
        now: Micros,
        *,
        looked: dict[tuple[str, int], int] | None = None,
    ) -> None:
        """`looked`: see `Watcher`."""
        assert endpoint.live is not None
        assert endpoint.live_since is not None
        self.endpoint = endpoint
        self.now = now
        self._rooms = rooms
        self._declaration = declaration
        self._looked = {} if looked is None else looked
        self._live = endpoint.live
        self._live_since = endpoint.live_since
        self._reader = PredictionReader(rooms.objects, rooms.predictions)
        self._read: dict[int, pl.DataFrame] = {}
        self._options = {trigger.kind: dict(trigger.options) for trigger in declaration.retrain.triggers}

    def rows(self, since: int) -> pl.DataFrame:
        """Predictions asked for since a moment, with shadow answers and the labels that came before `now`."""
        if since not in self._read:
            longer = [start for start in self._read if start < since]
            if longer:
                self._read[since] = self._read[max(longer)].filter(pl.col("at") >= since)
            else:
                self._read[since] = self._reader.predictions(endpoint=self.endpoint.name, since=since, until=self.now)
        return self._read[since]

    def _labelled_rows(self, labels: Sequence[LabelRow]) -> pl.DataFrame:
        """Predictions since the oldest that these labels, which were read just now, are about; with all of them.

        What was read earlier in this pass may lack labels that were taken up since then, and a cursor would pass by.
        """
        since = max(self._live_since, min(moment_of(label.prediction_id) for label in labels))
        newest: Any = self.rows(since)["label_seq"].max()
        if newest is None or newest < labels[-1].seq:
            self._read.clear()
        return self.rows(since)

    @cached_property
    def signature(self) -> Signature:
        """What the live version takes and answers."""
        return msgspec.json.decode(self._file("signature.json"), type=ready(Signature))

    @cached_property
    def reference(self) -> Reference:
        """What inputs, predictions and losses looked like when the live version was made."""
        return msgspec.json.decode(self._file("reference.json"), type=ready(Reference))

    @cached_property
    def losses(self) -> LossReference | None:
        """The designs of the live version's drop detectors; None when it came without labelled rows to compare with."""
        held_out = self.reference.losses
        if held_out is None:
            return None
        options: dict[str, Any] = {**DEFAULT_DROP, **self._options.get("performance_drop", {})}
        return loss_reference(
            held_out.losses,
            held_out.residuals,
            labels_between_false_alarms=float(options["one_false_alarm_in"]),
            tolerance=float(options["tolerance"]),
        )

    def due_steps(self) -> list[DueStep]:
        """The steps of the live version's detectors that new labels or closed windows make due."""
        return [*self._drop_steps(), *self._shift_steps(), *self._interval_steps(), *self._watcher.due_steps()]

    @cached_property
    def _watcher(self) -> Watcher:
        return Watcher(
            self._rooms,
            self.endpoint,
            self._declaration,
            self.now,
            slow_us=self._slow_us,
            looked=self._looked,
            read=self.rows,
        )

    def interval_level(self) -> tuple[float, int] | None:
        """How much the live version's intervals may miss by now, and after how many labels; None: as declared."""
        held = self._rooms.monitor.detector(endpoint=self.endpoint.name, version=self._live, name="interval")
        return None if held is None else (float(held.state["alpha"]), int(held.state["labels"]))

    def new_labels(self) -> int:
        """Labels of what was asked for since the live version went live; 0 where nothing depends on it."""
        if "new_rows" not in self._options:
            return 0
        return self.rows(self._live_since)["label_seq"].drop_nulls().len()

    def stage(self, rollout: Rollout) -> Observed:
        """What happened in the rollout's present stage."""
        since = rollout.stage_since
        rows = self.rows(since).filter(pl.col("shadow_version") == rollout.version)
        is_candidate = pl.col("version") == rollout.version
        both = rows.filter(
            ~is_candidate & pl.col("prediction").is_not_null() & pl.col("shadow_prediction").is_not_null()
        )
        labelled = both.filter(pl.col("label").is_not_null()).sort("label_seq")
        canary = self.rows(since).filter(is_candidate)
        live = rows.filter(~is_candidate)
        in_shadow = rollout.stages[rollout.stage].kind == "shadow"
        latency = self._slow_us
        return Observed(
            now=self.now,
            since=since,
            live_loss=losses_of(labelled, self.signature.task),
            candidate_loss=losses_of(labelled, self.signature.task, "shadow_"),
            scale=self._scale(rollout.version),
            answered={
                "live": live.height,
                "candidate": live["shadow_latency_us"].drop_nulls().len() if in_shadow else canary.height,
            },
            errors={
                "live": live["error"].drop_nulls().len(),
                "candidate": live["shadow_error"].drop_nulls().len()
                if in_shadow
                else canary["error"].drop_nulls().len(),
            },
            slow={
                "live": live.filter(pl.col("latency_us") > latency).height,
                "candidate": canary.filter(pl.col("latency_us") > latency).height,
            },
            compared=both.height,
            disagreed=self._disagreed(both),
        )

    def harm(self, finding: Finding) -> Harm:
        """Whether the live version does worse on the labelled rows of this window than when it was tested."""
        within = pl.col("at") < finding.window_to
        rows = self.rows(finding.window_from).filter(
            within & (pl.col("version") == finding.version) & pl.col("label").is_not_null()
        )
        losses = losses_of(rows, self.signature.task)
        evidence: dict[str, Any] = {"labelled": len(losses)}
        if len(losses) < MIN_HARM_ROWS:
            return Harm(is_harmed=False, says=f"only {len(losses)} of its rows are labelled yet", evidence=evidence)
        reference = self.losses
        if reference is None:
            return Harm(is_harmed=False, says="there are no held-out losses to compare with", evidence=evidence)
        loss = stats.betting_interval(np.minimum(losses / reference.loss_scale, 1.0), alpha=2 * (1 - HARM_PROB))
        allowed = reference.loss_design.mus[0]
        evidence |= {
            "mean_loss": float(losses.mean()),
            "held_out_mean_loss": reference.mean_loss,
            "loss_low": loss.low * reference.loss_scale,
            "loss_allowed": allowed * reference.loss_scale,
        }
        is_harmed = loss.low > allowed
        says = f"mean loss {losses.mean():.4g} on {len(losses)} labelled rows, {reference.mean_loss:.4g} when tested"
        if reference.residual_scale is not None and reference.bias_tolerance is not None:
            residuals = _residuals(rows)
            scaled = (np.clip(residuals / reference.residual_scale, -1.0, 1.0) + 1.0) / 2.0
            bias = stats.betting_interval(scaled, alpha=2 * (1 - HARM_PROB))
            low, high = ((2 * end - 1) * reference.residual_scale for end in (bias.low, bias.high))
            is_harmed = is_harmed or low > reference.bias_tolerance or high < -reference.bias_tolerance
            evidence |= {
                "bias": float(residuals.mean()),
                "bias_low": low,
                "bias_high": high,
                "bias_tolerance": reference.bias_tolerance,
            }
            says += f", mean residual {residuals.mean():+.3g} ({low:+.3g} to {high:+.3g})"
        return Harm(
            is_harmed=is_harmed, says=f"{'it hurts' if is_harmed else 'no harm seen'}: {says}", evidence=evidence
        )

    def correctable(self, finding: Finding) -> Correctable:
        """Whether the live version's answers can be corrected for the shares of classes in this window."""
        return self._watcher.correctable(Window(finding.window_from, finding.window_to), self.signature)

    def _drop_steps(self) -> list[DueStep]:
        """Label by label, where the loop states how many labels a false alarm may come in; else see `Watcher`."""
        name = "performance"
        held = self._rooms.monitor.detector(endpoint=self.endpoint.name, version=self._live, name=name)
        cursor = held.cursor if held is not None else 0
        labels = self._rooms.predictions.labels_between(
            endpoint=self.endpoint.name, after_seq=cursor, before=self.now, first_id=first_id(self._live_since)
        )
        reference = self.losses
        if not labels or reference is None or not self._follows_labels:
            return []
        last = labels[-1].seq
        # Only labels of answers that this version gave itself; a later revision of a label is not a new observation.
        rows = (
            self._labelled_rows(labels)
            .filter(
                (pl.col("version") == self._live)
                & pl.col("label_seq").is_between(cursor + 1, last)
                & (pl.col("label_revision") == 1)
                & pl.col("prediction").is_not_null()
            )
            .sort("label_seq")
        )
        task = self.signature.task
        step = detect_drop(
            reference,
            held.state if held is not None else None,
            version=self._live,
            losses=losses_of(rows, task),
            residuals=_residuals(rows) if task == "regression" else None,
            at=rows["at"].to_list(),
        )
        return [
            DueStep(
                version=self._live, name=name, cursor_from=cursor, cursor_to=last, state=step.state, found=step.found
            )
        ]

    @property
    def _follows_labels(self) -> bool:
        """Also a version without held-out rows, which nothing else watches."""
        if "performance_drop" in self._options:
            return True
        version = self._rooms.models.get(name=self.endpoint.name, version=self._live)
        return held_out_rows(version, self._rooms.objects) is None

    def _interval_steps(self) -> list[DueStep]:
        """Labels that are new against the intervals or sets that were answered."""
        policy = self._declaration.failsafe.interval if self._declaration.failsafe is not None else None
        if policy is None or not policy.adaptive:
            return []
        name = "interval"
        held = self._rooms.monitor.detector(endpoint=self.endpoint.name, version=self._live, name=name)
        cursor = held.cursor if held is not None else 0
        labels = self._rooms.predictions.labels_between(
            endpoint=self.endpoint.name, after_seq=cursor, before=self.now, first_id=first_id(self._live_since)
        )
        if not labels:
            return []
        last = labels[-1].seq
        rows = (
            self._labelled_rows(labels)
            .filter(
                (pl.col("version") == self._live)
                & pl.col("label_seq").is_between(cursor + 1, last)
                & (pl.col("label_revision") == 1)
                & (pl.col("low").is_not_null() | pl.col("label_set").is_not_null())
            )
            .sort("label_seq")
        )
        state = follow_labels(
            held.state if held is not None else None, missed_by(rows), target=1.0 - policy.level, step=policy.step
        )
        return [DueStep(version=self._live, name=name, cursor_from=cursor, cursor_to=last, state=state, found=[])]

    def _shift_steps(self) -> list[DueStep]:
        options: dict[str, Any] = {**DEFAULT_SHIFT, **self._options.get("shift", {})}
        name = "shift"
        held = self._rooms.monitor.detector(endpoint=self.endpoint.name, version=self._live, name=name)
        start = held.cursor if held is not None else self._live_since
        if start + DAY > self.now:  # nothing is read before a window can have closed
            return []
        catalogue = self._rooms.predictions.chunks(endpoint=self.endpoint.name, since=start, until=self.now)
        if sum(chunk.rows for chunk in catalogue) < int(options["min_rows"]):
            return []
        rows = self.rows(start)
        windows = closed_windows(rows["at"].to_numpy(), start, self.now, min_rows=int(options["min_rows"]))
        steps: list[DueStep] = []
        cursor = held.cursor if held is not None else 0
        for window in windows:
            inside = rows.filter((pl.col("at") >= window.start) & (pl.col("at") < window.end))
            steps.append(
                DueStep(
                    version=self._live,
                    name=name,
                    cursor_from=cursor,
                    cursor_to=window.end,
                    state={"until": iso(Micros(window.end))},
                    found=self._watcher.diagnosed(
                        inside, window, self._shifts(inside, window.start, window.end, options)
                    ),
                )
            )
            cursor = window.end
        return steps

    def _shifts(self, rows: pl.DataFrame, start: int, end: int, options: dict[str, Any]) -> list[NewFinding]:
        inputs = self._reader.inputs(rows, self.signature)
        context = {self.signature.key, self.signature.time} | self._reader.not_kept(rows)
        columns = [
            Shift(column=column, reference=profile.counts, current=count(profile, inputs[column]).tolist())
            for column, profile in self.reference.inputs.items()
            if column in inputs.columns and column not in context
        ]
        own = rows.filter((pl.col("version") == self._live) & pl.col("prediction").is_not_null())
        answers = own["value"] if self.signature.task == "regression" else _texts(own["prediction"])
        profile = self.reference.prediction
        return find_shift(
            columns,
            Shift(column="prediction", reference=profile.counts, current=count(profile, answers).tolist()),
            version=self._live,
            window_from=start,
            window_to=end,
            tolerance=float(options["tolerance"]),
            min_rows=int(min(options["min_rows"], MIN_TEST_ROWS)),
            explain=lambda: self._watcher.explained(own, Window(start, end), tolerance=float(options["tolerance"])),
        )

    def _disagreed(self, both: pl.DataFrame) -> int:
        """Rows on which the answers differ by more than the live version's own held-out error, or in the label."""
        if self.signature.task == "regression":
            spread = float(both["value"].std() or 0.0) if both.height > 1 else 0.0  # pyright: ignore[reportArgumentType]
            material = float(np.sqrt(self.losses.mean_loss)) if self.losses is not None else spread
            return both.filter((pl.col("value") - pl.col("shadow_value")).abs() > material).height
        return both.filter(pl.col("prediction") != pl.col("shadow_prediction")).height

    def _scale(self, version: int) -> float:
        """A large loss difference, known before the shadow: from the comparison that registered the candidate."""
        for verdict in self._rooms.models.get(name=self.endpoint.name, version=version).verdicts:
            if "difference_scale" in verdict.evidence and verdict.evidence["difference_scale"] > 0:
                return float(verdict.evidence["difference_scale"])
        return self.losses.loss_scale if self.losses is not None else 1.0

    @property
    def _slow_us(self) -> float:
        policy = self._declaration.monitor
        if policy is not None and policy.slow_ms is not None:
            return policy.slow_ms * 1000
        for requirement in self._declaration.requirements:
            if requirement.kind == "latency":
                limit: Any = requirement.options["p99_ms"]
                return float(limit) * 1000
        return SLOW_US

    def _file(self, path: str) -> bytes:
        version = self._rooms.models.get(name=self.endpoint.name, version=self._live)
        manifest = read_manifest(self._rooms.objects.get(package_of(version)))
        return self._rooms.objects.get(manifest.files[path][0])


MIN_TEST_ROWS = 100  # where the chi-squared law of the shift test begins to hold


def losses_of(rows: pl.DataFrame, task: str, of: str = "") -> Floats:
    """Loss of each labelled row: squared error, or 1 for a wrong label. `of`: "" or "shadow_"."""
    if task == "regression":
        return ((rows["label_value"] - rows[f"{of}value"]) ** 2).to_numpy()
    return (rows["label"] != rows[f"{of}prediction"]).cast(pl.Float64).to_numpy()


def _residuals(rows: pl.DataFrame) -> Floats:
    return (rows["label_value"] - rows["value"]).to_numpy()


def missed_by(rows: pl.DataFrame) -> list[bool]:
    """Whether the interval or set of each labelled row missed its truth."""
    found: list[bool] = []
    for low, high, members, label, value in rows.select("low", "high", "label_set", "label", "label_value").iter_rows():
        if members is None:
            found.append(not low <= value <= high)
        else:
            found.append(label not in {text(member) for member in msgspec.json.decode(members)})
    return found


def _texts(answers: pl.Series) -> pl.Series:
    """Labels as they were before they became JSON."""
    return pl.Series([None if text is None else str(msgspec.json.decode(text)) for text in answers], dtype=pl.String)
