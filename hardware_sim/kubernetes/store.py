"""The objects of the simulated cluster by kind and name, each change with a resource version of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hardware_sim.kubernetes.objects import full_name
from hardware_sim.kubernetes.status import not_found

if TYPE_CHECKING:
    from collections.abc import Callable

    from hardware_sim.kubernetes.objects import Object


class Store:
    """What the datastore of a cluster is to its API server."""

    def __init__(self) -> None:
        self.version = 1000
        self.changed: Callable[[], None] = lambda: None
        """Called after each change."""
        self._objects: dict[str, dict[tuple[str, str], Object]] = {}

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
        self.version += 1
        item["metadata"]["resourceVersion"] = str(self.version)
        self._objects.setdefault(plural, {})[full_name(item)] = item
        self.changed()

    def remove(self, plural: str, item: Object) -> None:
        """Forget the object."""
        self.version += 1
        del self._objects[plural][full_name(item)]
        self.changed()
