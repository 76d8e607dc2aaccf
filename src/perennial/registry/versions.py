"""Register, approve and find model versions.

A version is written once; afterwards only its state moves, each move by a named person or rule and with an event in
the same transaction. The aliases `live` and `candidate` belong to the rollout (`deploy`), which moves them with
`point` inside its own transaction; everybody else is refused.

What people say of a model stands beside its versions (`describing`); where a version comes from and what became of it
is read in `lineage`. Versions that MLflow's clients register (`model_versions`) stand in the same line, *unreviewed*:
they have no package, so they cannot be approved or deployed.
"""

from __future__ import annotations

import builtins
import re
from typing import Literal

import msgspec
import sqlalchemy as sa

from perennial.errors import Invalid
from perennial.models.facts.verdict import Verdict
from perennial.registry.deciding import decide
from perennial.registry.describing import ModelFacts, about, describe
from perennial.registry.inventory import InventoryLine, inventory
from perennial.registry.lineage import Learned, Lineage, learned_from, lineage
from perennial.registry.names import RESERVED_ALIASES
from perennial.registry.numbering import next_version
from perennial.registry.pointing import aliases_of, check_own_alias, move_own_alias, point
from perennial.registry.records import versions
from perennial.registry.tags import delete_tag, load_tags, set_tag
from perennial.registry.test_sets import JudgedOn, count_use
from perennial.registry.trust import is_trusted
from perennial.registry.version import ModelVersion, State, find, made_of, no_package, package_of
from perennial.store.actor import current_actor
from perennial.store.records import Records, Transaction

__all__ = ["RESERVED_ALIASES", "ModelVersion", "Models", "no_package", "package_of", "point"]

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")


class Models:
    """The registry. Safe for concurrent use; every write is one transaction with its event."""

    def __init__(self, records: Records) -> None:
        self._records = records

    def register(
        self,
        *,
        name: str,
        package: str,
        origin: Literal["loop", "imported"],
        run_id: str | None = None,
        dataset: str | None = None,
        dataset_version: int | None = None,
        bundle: str | None = None,
        declaration: str | None = None,
        evaluation: str | None = None,
        verdicts: list[Verdict] | None = None,
        trained_until: int | None = None,
        reason: str = "",
        judged_on: JudgedOn | None = None,
    ) -> ModelVersion:
        """Add the next version of a model; the same run registers once, however often it asks.

        Its state is `refused` when a verdict failed, else `candidate`, which waits for approval. `judged_on` counts a
        look at the test set, whatever the verdicts.
        """
        if not _NAME.fullmatch(name):
            raise Invalid(
                f"{name!r} is not a name for a model",
                remedy="use up to 100 letters, digits, '_', '-' and '.', beginning with a letter or digit",
            )
        found = verdicts or []
        state: State = "refused" if any(verdict.passed is False for verdict in found) else "candidate"

        def change(tx: Transaction) -> ModelVersion:
            if run_id is not None:
                row = (
                    tx.connection.execute(
                        sa.select(versions).where(
                            versions.c.name == name, versions.c.run_id == run_id, versions.c.package.is_not(None)
                        )
                    )
                    .mappings()
                    .first()
                )
                if row is not None:
                    return made_of(row)
            version = ModelVersion(
                name=name,
                version=next_version(tx, name),
                package=package,
                origin=origin,
                state=state,
                run_id=run_id,
                dataset=dataset,
                dataset_version=dataset_version,
                bundle=bundle,
                declaration=declaration,
                evaluation=evaluation,
                verdicts=found,
                trained_until=trained_until,
                reason=reason,
                at=tx.now,
                decided_by=None,
                decided_at=None,
                comment=None,
                updated=tx.now,
            )
            row_values = msgspec.structs.asdict(version) | {"verdicts": msgspec.json.encode(found).decode()}
            del row_values["tags"]
            tx.connection.execute(sa.insert(versions).values(**row_values))
            if judged_on is not None:
                count_use(tx, name, version.version, judged_on)
            failed = [verdict.kind for verdict in found if verdict.passed is False]
            tx.event(
                "model.registered" if state == "candidate" else "model.refused",
                f"model/{name}/{version.version}",
                {"package": package, "run": run_id, "origin": origin, "failed": failed, "reason": reason},
            )
            return version

        return self._records.write(change)

    def approve(self, *, name: str, version: int, comment: str = "", package: str | None = None) -> ModelVersion:
        """Let a candidate pass, in the name of the acting person: exactly these bytes are trusted from then on.

        Args:
            name: The model.
            version: Its number.
            comment: Why; kept with the decision.
            package: The digest that the person looked at.

        Raises:
            Refused: A requirement failed, the verdicts say which; or a client registered it, so it has no package.
            Conflict: It was rejected before, or its package is not the one that the person looked at.
        """
        who = current_actor().person
        return self._records.write(
            lambda tx: decide(tx, name, version, state="approved", who=who, comment=comment, package=package)
        )

    def approve_by_rule(self, *, name: str, version: int, rule: str) -> ModelVersion:
        """Let a candidate pass because the loop declares automatic approval; recorded as the rule, not a person.

        Raises:
            Forbidden: The version was imported: only a person can vouch for code that came from elsewhere.
        """
        who = f"rule: {rule}"
        return self._records.write(
            lambda tx: decide(tx, name, version, state="approved", who=who, comment="", may_be_imported=False)
        )

    def reject(self, *, name: str, version: int, comment: str = "") -> ModelVersion:
        """Refuse a candidate, in the name of the acting person, who says why.

        Raises:
            Invalid: There is no comment: whoever trains the next one must know what was wrong.
            Refused: A client registered it: it has no package that could be decided on.
            Conflict: It was approved or failed its requirements before.
        """
        if not comment.strip():
            raise Invalid(
                "a rejection needs a comment",
                where="comment",
                remedy=f'say what is wrong: perennial reject {name}@{version} --comment "..."',
            )
        who = current_actor().person
        return self._records.write(lambda tx: decide(tx, name, version, state="rejected", who=who, comment=comment))

    def get(self, *, name: str, version: int | None = None, alias: str | None = None) -> ModelVersion:
        """One version, by number or alias; by default the newest.

        Raises:
            NotFound: No such model, version or alias.
        """

        def query(connection: sa.Connection) -> ModelVersion:
            return find(connection, name, version, alias)

        return self._records.read(query)

    def list(self, *, name: str | None = None, state: str | None = None) -> list[ModelVersion]:
        """Versions, oldest first; all models' when no name is given."""
        query = sa.select(versions).where(versions.c.removed.is_(None)).order_by(versions.c.name, versions.c.version)
        if name is not None:
            query = query.where(versions.c.name == name)
        if state is not None:
            query = query.where(versions.c.state == state)

        def found(connection: sa.Connection) -> list[ModelVersion]:
            tags = load_tags(connection, name=name)
            return [
                made_of(row, tags.get((row["name"], row["version"]))) for row in connection.execute(query).mappings()
            ]

        return self._records.read(found)

    def inventory(self) -> builtins.list[InventoryLine]:
        """Every model in a line: what people say of it, its newest version, what is live and what waits."""
        return self._records.read(inventory)

    def about(self, *, name: str) -> ModelFacts:
        """What people said of a model; empty where nobody has said it.

        Raises:
            NotFound: There is no such model.
        """
        return self._records.read(lambda connection: about(connection, name))

    def describe(
        self,
        *,
        name: str,
        description: str | None = None,
        purpose: str | None = None,
        owner: str | None = None,
        risk: str | None = None,
        data: str | None = None,
        limits: str | None = None,
        review_by: str | None = None,
        retire_by: str | None = None,
    ) -> ModelFacts:
        """Say what a model is for, who answers for it, where its limits are; see `ModelFacts` for each.

        None leaves a fact as it is, an empty text takes it away. Days are written as 2027-06-30.

        Raises:
            NotFound: There is no such model. Invalid: A day is none, or a text is too long.
        """
        said = {
            "description": description,
            "purpose": purpose,
            "owner": owner,
            "risk": risk,
            "data": data,
            "limits": limits,
            "review_by": review_by,
            "retire_by": retire_by,
        }
        return self._records.write(lambda tx: describe(tx, name, said))

    def set_tag(self, *, name: str, version: int, key: str, value: str = "") -> None:
        """Set a tag of a version; one that is there is replaced.

        Raises:
            NotFound: There is no such version. Invalid: The key or value cannot be one.
        """
        self._records.write(lambda tx: set_tag(tx, name, version, key, value))

    def delete_tag(self, *, name: str, version: int, key: str) -> None:
        """Take a tag of a version away; it need not be there.

        Raises:
            NotFound: There is no such version. Invalid: The key cannot be one.
        """
        self._records.write(lambda tx: delete_tag(tx, name, version, key))

    def lineage(self, *, name: str, version: int) -> Lineage:
        """What a version was made of, who let it pass, and when it was live.

        Raises:
            NotFound: There is no such version.
        """
        return self._records.read(lambda connection: lineage(connection, name, version))

    def learned_from(self, *, dataset: str, version: int) -> builtins.list[Learned]:
        """The model versions that learned from a dataset version, also through data that were made of it.

        Raises:
            NotFound: There is no such dataset version.
        """
        return self._records.read(lambda connection: learned_from(connection, dataset, version))

    def aliases(self, *, name: str) -> dict[str, int]:
        """Which version each alias of this model points at."""
        return self._records.read(lambda connection: aliases_of(connection, name))

    def set_alias(self, *, name: str, alias: str, version: int | None, expected: int | None = None) -> dict[str, int]:
        """Point an alias of your own at a version, or remove it with None.

        Args:
            name: The model.
            alias: Letters, digits, '_', '-' and '.', not a number alone: that would read as a version.
            version: Where it shall point.
            expected: Where it points now, 0 for nowhere; None moves it from wherever it is.

        Raises:
            Forbidden: `live` and `candidate` move only through a rollout.
            Conflict: It does not point at `expected` any more.
        """
        check_own_alias(name, alias)
        return self._records.write(lambda tx: move_own_alias(tx, name, alias, version, expected))

    def is_trusted(self, *, package: str) -> bool:
        """Whether code in this package may run in a worker: it is ours, or a person approved exactly these bytes."""
        return self._records.read(lambda connection: is_trusted(connection, package))
