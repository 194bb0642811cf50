"""The objects of the simulated cluster by kind and name, and the history of their changes, by which watches go on.

Each change has a resource version of its own. What a change made of an object is kept as text, since the cluster goes
on changing the object itself.
"""

from __future__ import annotations

import json
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hardware_sim.kubernetes.objects import full_name
from hardware_sim.kubernetes.status import not_found

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from hardware_sim.kubernetes.objects import Object

HISTORY = 20_000
"""How many changes are remembered; an older resource version than that is too old for a watch."""


@dataclass(frozen=True, slots=True)
class Change:
    """What an object was before, and what it is now; `None` if there was none, or is none any more."""

    version: int
    plural: str
    before: str | None
    after: str | None


class Store:
    """What the datastore of a cluster is to its API server."""

    def __init__(self) -> None:
        self.version = 1000
        self.compacted = self.version
        """The oldest version from which a watch can go on."""
        self.changed: Callable[[], None] = lambda: None
        """Called after each change."""
        self._objects: dict[str, dict[tuple[str, str], Object]] = {}
        self._texts: dict[tuple[str, str, str], str] = {}
        self._history: deque[Change] = deque()

    def items(self, plural: str, namespace: str = "") -> list[Object]:
        """All objects of a kind by namespace and name; of one namespace, if it is given."""
        found = sorted(self._objects.get(plural, {}).items())
        return [item for (where, _), item in found if namespace in ("", where)]

    def find(self, plural: str, namespace: str, name: str) -> Object | None:
        """The object, if there is one."""
        return self._objects.get(plural, {}).get((namespace, name))

    def get(self, plural: str, namespace: str, name: str) -> Object:
        """The object.

        Raises:
            Refused: 404.
        """
        found = self.find(plural, namespace, name)
        if found is None:
            raise not_found(plural, name)
        return found

    def put(self, plural: str, item: Object) -> None:
        """Add the object, or record that it changed."""
        item["metadata"]["resourceVersion"] = str(self.version + 1)
        self._objects.setdefault(plural, {})[full_name(item)] = item
        self._record(plural, item, json.dumps(item))

    def remove(self, plural: str, item: Object) -> None:
        """Forget the object."""
        del self._objects[plural][full_name(item)]
        self._record(plural, item, None)

    def since(self, version: int) -> Iterator[Change]:
        """The changes after this version, oldest first."""
        return (change for change in self._history if change.version > version)

    def compact(self) -> None:
        """Forget all history, as a restart of the API server does, and etcd's compaction after five minutes."""
        self.compacted = self.version
        self._history.clear()

    def _record(self, plural: str, item: Object, after: str | None) -> None:
        self.version += 1
        key = (plural, *full_name(item))
        before = self._texts.pop(key, None)
        if after is not None:
            self._texts[key] = after
        self._history.append(Change(self.version, plural, before, after))
        if len(self._history) > HISTORY:
            self.compacted = self._history.popleft().version
        self.changed()
