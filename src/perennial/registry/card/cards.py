"""The service that gathers cards. It reads records and objects; no model is loaded, no code of a user runs."""

from __future__ import annotations

from perennial.registry.card.facts import Card, card_of
from perennial.registry.versions import Models
from perennial.store.objects import ObjectStore

__all__ = ["Cards"]


class Cards:
    """Cards of model versions. Safe for concurrent use."""

    def __init__(self, models: Models, objects: ObjectStore) -> None:
        self._models = models
        self._objects = objects

    def get(self, *, name: str, version: int | None = None, alias: str | None = None) -> Card:
        """The card of one version, by number or alias; by default of the newest.

        Raises:
            NotFound: There is no such model, version or alias.
        """
        found = self._models.get(name=name, version=version, alias=alias)
        pointing = self._models.aliases(name=name)
        return card_of(
            found,
            said=self._models.about(name=name),
            aliases=[alias for alias, number in pointing.items() if number == found.version],
            lineage=self._models.lineage(name=name, version=found.version),
            read=self._objects.get,
        )
