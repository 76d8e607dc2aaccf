"""The one table of operations: what can be asked of a workspace, and who may ask it.

An operation is named `noun.verb` for the method `verb` of the service `noun` (see `workspace.SERVICES`). Its route,
request, answer, OpenAPI entry, remote client and the matrix of authorization tests derive from this line and from the
method's annotations; what is not in the table cannot be called from another process.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, NamedTuple

__all__ = ["OPERATIONS", "Operation", "Permission"]

Permission = Literal["read", "track", "write", "decide", "system"]
"""read: anybody on this machine; track: log to runs, as MLflow's clients do, anybody on this machine unless the setting
`require_token` is on; write: label, delete, look at what one person asked; decide: what a person answers for;
system: our own processes."""

KIB, MIB = 1024, 1024 * 1024


class Operation(NamedTuple):
    """One line of the table.

    `audit` is the kind of event that the method writes when it changes something (or the first word of several kinds),
    empty for reads and for high-rate data. A write is `keyed`: repeated with the same idempotency key it answers the
    same and changes nothing. Not so what is repeatable by itself and slow (it would hold up other writers), or waits
    for what was captured to be taken up: whoever does that writes meanwhile, and the writer must not wait for it.
    """

    name: str
    permission: Permission
    audit: str
    says: str
    max_bytes: int = 64 * KIB
    keyed: bool = True


_TABLE = (
    Operation("system.info", "read", "", "Which workspace this is, and who owns it."),
    Operation("system.settings", "read", "", "Every setting with its value, unit and origin."),
    Operation("system.clock", "read", "", "The moment by the workspace's clock."),
    Operation("system.set_clock", "system", "", "Move the clock of a simulated workspace forwards.", keyed=False),
    Operation("system.status", "read", "", "What needs a person now, and what is live."),
    Operation("events.list", "read", "", "Events in order, after a sequence number."),
    Operation("events.head", "read", "", "The sequence number of the newest event."),
    Operation("events.verify", "read", "", "Problems in the hash chain of events; none is good."),
    Operation("datasets.list", "read", "", "Dataset versions, newest first."),
    Operation("datasets.get", "read", "", "One dataset version with its schema."),
    Operation("datasets.waiting", "read", "", "Drafts that wait for a person."),
    Operation("datasets.commit", "system", "data", "Add the next version of a dataset.", 4 * MIB),
    Operation("datasets.accept", "decide", "data.accepted", "Let a draft be a version like any other."),
    Operation("datasets.remove", "decide", "data.removed", "Give up a version's bytes; its line stays."),
    Operation("datasets.tags", "read", "", "Names that point at versions of datasets."),
    Operation("datasets.tag", "write", "data.tagged", "Let a tag point at a version."),
    Operation("datasets.untag", "write", "data.untagged", "Take a tag away."),
    Operation("schemas.list", "read", "", "Schema versions of a dataset, newest first."),
    Operation("schemas.get", "read", "", "One schema version; without a number the accepted one."),
    Operation("schemas.propose", "write", "schema", "Propose a schema; what the rule allows is accepted.", 4 * MIB),
    Operation("schemas.decide", "decide", "schema", "Accept or reject a proposed schema."),
    Operation("remotes.list", "read", "", "Where datasets are pushed to."),
    Operation("remotes.set", "write", "remote.set", "Name a place to push datasets to."),
    Operation("remotes.remove", "write", "remote.removed", "Forget a remote; what lies there stays."),
    Operation("experiments.search", "read", "", "Experiments by a filter."),
    Operation("experiments.get", "read", "", "One experiment, by number or name."),
    Operation("experiments.create", "track", "", "Make an experiment.", MIB),
    Operation("experiments.rename", "track", "", "Give an experiment another name.", keyed=False),
    Operation("experiments.set_tags", "track", "", "Set tags of an experiment.", MIB, keyed=False),
    Operation("experiments.delete_tag", "track", "", "Take a tag of an experiment away."),
    Operation("experiments.delete", "write", "", "Hide an experiment and its runs."),
    Operation("experiments.restore", "write", "", "Bring an experiment and its runs back."),
    Operation("runs.list", "read", "", "The newest runs, of one loop or of all."),
    Operation("runs.search", "read", "", "Runs of experiments by a filter, ordered, in pages."),
    Operation("runs.get", "read", "", "One run: code, data, parameters, steps, newest metrics, artifacts."),
    Operation("runs.history", "read", "", "Points of one metric of a run, in pages."),
    Operation("runs.outline", "read", "", "A metric of a run, thin enough to draw."),
    Operation("runs.thinned", "read", "", "Evenly chosen points of a metric of a run."),
    Operation("runs.datasets", "read", "", "Datasets that runs of experiments used."),
    Operation("runs.with_tag", "read", "", "The newest finished run of a loop that has a tag."),
    Operation("runs.cached_step", "read", "", "The newest step that was run with a fingerprint."),
    Operation("runs.start", "track", "", "Begin a run.", MIB),
    # These may be repeated as they are: the same point, parameter or tag is there once.
    Operation("runs.log_params", "track", "", "Log parameters of a run, each once.", MIB, keyed=False),
    Operation("runs.log_metrics", "track", "", "Log points of metrics of a run.", MIB, keyed=False),
    Operation("runs.log_batch", "track", "", "Log points, parameters and tags of a run.", MIB, keyed=False),
    Operation("runs.log_inputs", "track", "", "Tell which data and models a run used.", 16 * MIB, keyed=False),
    Operation("runs.set_tags", "track", "", "Set tags of a run.", MIB, keyed=False),
    Operation("runs.delete_tag", "track", "", "Take a tag of a run away."),
    Operation("runs.update", "track", "", "Change a run's state, end or name.", keyed=False),
    Operation("runs.add_artifact", "write", "", "Name an object as a file of a run."),
    Operation("runs.step", "system", "", "Record what a step of a run did.", MIB),
    Operation("runs.finish", "track", "", "End a run.", keyed=False),
    Operation("runs.delete", "write", "", "Hide a run."),
    Operation("runs.restore", "write", "", "Bring a run back."),
    Operation("logged_models.search", "read", "", "Logged models by a filter, ordered, in pages."),
    Operation("logged_models.get", "read", "", "One logged model."),
    Operation("logged_models.create", "track", "", "Announce a model whose files are uploaded next.", MIB),
    Operation("logged_models.finalize", "track", "", "Say that a model's files are there.", keyed=False),
    Operation("logged_models.set_tags", "track", "", "Set tags of a logged model.", MIB, keyed=False),
    Operation("logged_models.delete_tag", "track", "", "Take a tag of a logged model away."),
    Operation("logged_models.log_params", "track", "", "Log parameters of a logged model.", MIB, keyed=False),
    Operation("logged_models.log_metrics", "track", "", "Log points measured with a model.", MIB, keyed=False),
    Operation("logged_models.delete", "write", "", "Hide a logged model."),
    Operation("artifacts.list", "read", "", "What a folder of logged files holds."),
    Operation("artifacts.get", "read", "", "What lies at a path: digest and size."),
    Operation("artifacts.add", "write", "", "Name an object as the logged file at a path."),
    Operation("artifacts.add_for_run", "write", "", "Name an object as a file of a run."),
    Operation("artifacts.delete", "write", "artifact.deleted", "Delete a logged file, or a folder of them."),
    Operation("artifacts.free", "system", "", "Remove from the bucket what no path names.", 16 * MIB, keyed=False),
    Operation("uploads.get", "read", "", "An upload in parts: which parts are there."),
    Operation("uploads.begin", "track", "", "Begin an upload in parts."),
    Operation("uploads.add_part", "track", "", "Name an object as a part of an upload."),
    Operation("uploads.abort", "track", "", "Give up an upload in parts."),
    Operation("imports.experiments", "system", "", "Find or make experiments for an import.", 16 * MIB, keyed=False),
    Operation("imports.points", "system", "", "Take points of a large run before it.", 16 * MIB, keyed=False),
    Operation("imports.runs", "system", "", "Take whole runs from another store.", 16 * MIB, keyed=False),
    Operation("imports.logged_models", "system", "", "Take logged models from another store.", 16 * MIB, keyed=False),
    Operation("model_imports.adopt", "system", "model.imported", "Take models from elsewhere.", 16 * MIB, keyed=False),
    Operation("evaluation_datasets.get", "read", "", "One evaluation dataset, without its records."),
    Operation("evaluation_datasets.search", "read", "", "Evaluation datasets that a filter lets through, by page."),
    Operation("evaluation_datasets.records", "read", "", "Records of an evaluation dataset, a page at a time."),
    Operation("evaluation_datasets.create", "track", "", "Make an evaluation dataset.", MIB),
    Operation("evaluation_datasets.set_tags", "track", "", "Set tags of an evaluation dataset.", MIB),
    Operation("evaluation_datasets.delete_tag", "track", "", "Take a tag of an evaluation dataset away."),
    Operation("evaluation_datasets.upsert", "track", "", "Add records; what is known is merged.", 16 * MIB),
    Operation("evaluation_datasets.add_experiments", "track", "", "Say where an evaluation dataset is used."),
    Operation("evaluation_datasets.remove_experiments", "track", "", "Say where one is not used any more."),
    Operation("evaluation_datasets.delete", "write", "evaluation_dataset.deleted", "Delete one with its records."),
    Operation("evaluation_datasets.delete_records", "write", "evaluation_dataset.records_deleted", "Drop some.", MIB),
    Operation("models.list", "read", "", "Model versions, of one model or all, in one state or any."),
    Operation("models.get", "read", "", "One model version, by number or alias."),
    Operation("models.inventory", "read", "", "Every model: what is said of it, its newest version, what is live."),
    Operation("models.about", "read", "", "What people said of a model: purpose, owner, risk, limits, review date."),
    Operation("models.lineage", "read", "", "What a version was made of, who let it pass, when it was live."),
    Operation("models.learned_from", "read", "", "The model versions that learned from a dataset version."),
    Operation("models.aliases", "read", "", "Which version each alias of a model points at."),
    Operation("models.is_trusted", "read", "", "Whether code in a package may run in a worker."),
    Operation("models.register", "system", "model.registered", "Add a version with its verdicts.", MIB),
    Operation("models.approve", "decide", "model.approved", "Let a candidate pass, in a person's name."),
    Operation("models.approve_by_rule", "system", "model.approved", "Let a candidate pass as the loop declares."),
    Operation("models.reject", "decide", "model.rejected", "Refuse a candidate, in a person's name."),
    Operation("models.describe", "write", "model.described", "Say what a model is for, who owns it, its limits.", MIB),
    Operation("models.set_tag", "write", "model.tagged", "Set a tag of a version.", MIB),
    Operation("models.delete_tag", "write", "model.untagged", "Take a tag of a version away."),
    Operation("models.set_alias", "decide", "alias.moved", "Point an alias of one's own at a version."),
    Operation("cards.get", "read", "", "The card of a version, made from recorded facts alone."),
    Operation("test_sets.list", "read", "", "Test sets that judged models: looks taken and looks left."),
    Operation("test_sets.get", "read", "", "One test set: looks taken, looks left, what they are worth."),
    Operation("test_sets.leaderboard", "read", "", "Models judged by a test set, with what may be told of each."),
    Operation("trash.empty", "write", "tracking.erased", "Erase what was deleted a while ago, for good.", keyed=False),
    Operation("registered.get", "read", "", "A registered model: tags, aliases, the newest version of each stage."),
    Operation("registered.search", "read", "", "Registered models that a filter lets through, a page at a time."),
    Operation("registered.latest", "read", "", "The highest version of each stage of a registered model."),
    Operation("registered.at_alias", "read", "", "The version that an alias points at."),
    Operation("registered.create", "track", "model.created", "Make a registered model without versions.", MIB),
    Operation("registered.describe", "track", "model.described", "Describe a registered model.", MIB),
    Operation("registered.set_tag", "track", "model.tagged", "Set a tag of a registered model.", MIB),
    Operation("registered.delete_tag", "track", "model.untagged", "Take a tag of a registered model away."),
    Operation("registered.set_alias", "track", "alias.moved", "Point a client's own alias at a version."),
    Operation("registered.delete_alias", "track", "alias.moved", "Take a client's own alias away."),
    Operation("registered.rename", "write", "model.renamed", "Rename a model that holds no package."),
    Operation("registered.delete", "write", "model.removed", "Delete a model that holds no package."),
    Operation("model_versions.get", "read", "", "One version as clients see it."),
    Operation("model_versions.search", "read", "", "Versions that a filter lets through, a page at a time."),
    Operation("model_versions.create", "track", "model.registered", "Register files as an unreviewed version.", MIB),
    Operation("model_versions.describe", "track", "model.described", "Describe a version.", MIB),
    Operation("model_versions.set_tag", "track", "model.tagged", "Set a tag of a version.", MIB),
    Operation("model_versions.delete_tag", "track", "model.untagged", "Take a tag of a version away."),
    Operation("model_versions.move", "track", "model.staged", "Move a version to Staging, Archived or None."),
    Operation("model_versions.delete", "write", "model.removed", "Delete a version that a client registered."),
    Operation("endpoints.list", "read", "", "What each endpoint serves."),
    Operation("endpoints.get", "read", "", "What one endpoint serves."),
    Operation("endpoints.running", "read", "", "What the prediction service runs of each endpoint."),
    Operation("endpoints.history", "read", "", "All rollouts of an endpoint."),
    Operation("endpoints.live_at", "read", "", "What was live at a moment, and who let it."),
    Operation("endpoints.start_rollout", "decide", "rollout.started", "Send an approved version on its way to live."),
    Operation("endpoints.advance", "system", "rollout.advanced", "Move a rollout on its evidence.", MIB),
    Operation("endpoints.rollback", "decide", "endpoint.rolled_back", "Go back to the version before."),
    Operation("endpoints.pin", "decide", "endpoint.pinned", "Keep what is live until it is unpinned."),
    Operation("endpoints.stop", "decide", "endpoint.stopped", "Let an endpoint answer nobody until it is started."),
    Operation("endpoints.adapt", "system", "", "Let the intervals of a version follow the labels."),
    Operation("endpoints.publish", "system", "", "Write the desired state for the prediction service.", keyed=False),
    Operation("predictions.find", "write", "", "One prediction: what was asked, the answer, the version.", keyed=False),
    Operation("predictions.counts", "read", "", "How many predictions, errors and labels an endpoint has."),
    Operation("predictions.chunks", "read", "", "The stored tables of an endpoint's predictions."),
    Operation("predictions.labels_between", "read", "", "Labels in the order in which they came."),
    Operation("predictions.label", "write", "", "True values for past predictions.", 16 * MIB, keyed=False),
    Operation("predictions.accounts", "read", "", "What became of every row, and how many may be lost."),
    Operation("predictions.search", "write", "", "The newest predictions, of a span of time or one version."),
    Operation("predictions.waiting", "write", "", "Predictions that wait for a person, and what people answered."),
    Operation("predictions.answer", "decide", "prediction.answered", "Answer for a model that abstained.", keyed=False),
    Operation("predictions.tend", "system", "predictions.expired", "Merge tables, delete what is old.", keyed=False),
    Operation("predictions.ingest", "system", "", "Make what the service captured visible.", keyed=False),
    Operation("monitor.list", "read", "", "Findings about an endpoint."),
    Operation("monitor.detector", "system", "", "How far a detector has read, and its numbers."),
    Operation("monitor.step", "system", "found", "Record what a detector read and found.", 16 * MIB),
    Operation("renew.last_pass", "read", "", "How far the reconciler has come."),
    Operation("renew.lead", "system", "", "Become the one reconciler, unless there is another.", keyed=False),
    Operation("renew.keep_lead", "system", "", "Stay the one reconciler for another term.", keyed=False),
    Operation("renew.report_pass", "system", "", "Say how far the reconciler has come.", keyed=False),
    Operation("renew.loops", "read", "", "The loops that were run in this workspace."),
    Operation("renew.loop", "read", "", "One loop as it was last run."),
    Operation("renew.set_loop", "system", "loop.changed", "Remember a loop as it is run now.", MIB),
    Operation("renew.decisions", "read", "", "Why an endpoint was retrained, and why not."),
    Operation("renew.decide", "system", "retrain.decided", "Record the answer to a reason to retrain.", MIB),
    Operation("renew.jobs", "read", "", "Trainings that wait, run, are done or failed."),
    Operation("renew.claim", "system", "", "Take a job that waits or whose process died."),
    Operation("renew.finish_job", "system", "job.done", "Report that a job is done.", MIB),
    Operation("renew.fail_job", "system", "job.failed", "Report that a job failed.", MIB),
)  # fmt: skip

OPERATIONS: Mapping[str, Operation] = {operation.name: operation for operation in _TABLE}
