"""Watches: the changes of a list since a resource version, as the events that an API server streams.

As on a real server, a version that is too old is answered within the stream, under HTTP 200; one from the future is
answered by silence; and an object that enters or leaves what is selected is an addition or a deletion to the watch.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from hardware_sim.kubernetes import selectors, status

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from hardware_sim.kubernetes.discovery import Resource
    from hardware_sim.kubernetes.objects import Object
    from hardware_sim.kubernetes.store import Change, Store


class Watch:
    """One watch of one kind of objects; what it has told is not told again."""

    def __init__(self, store: Store, resource: Resource, namespace: str, query: Mapping[str, str]) -> None:
        """Begin after the query's `resourceVersion`; without one, or with 0, with what is there now.

        Raises:
            Refused: 400 for a version or a selector that is none, 422 for `sendInitialEvents`, which servers of this
                version do not have yet.
        """
        if "sendInitialEvents" in query:
            raise status.no_initial_events()
        self._store, self._resource = store, resource
        self._namespace, self._query = namespace, query
        version = selectors.version_of(query)
        selectors.selected([], query)  # a selector that is none is refused before anything is streamed
        self._initial = version == 0
        self._version = version or store.version

    @property
    def bookmarks(self) -> bool:
        """Whether bookmarks are wanted."""
        return self._query.get("allowWatchBookmarks") in ("1", "true")

    def events(self) -> Iterator[tuple[str, Object]]:
        """Type and object of what there is to tell; ends for good after an `ERROR`, which is a 410."""
        if self._initial:
            self._initial = False
            items = self._store.items(self._resource.plural, self._namespace)
            for item in selectors.selected(items, self._query):
                yield "ADDED", item
        if self._version < self._store.compacted:
            yield "ERROR", status.expired(self._version, self._store.compacted).status
            return
        for change in list(self._store.since(self._version)):
            self._version = change.version
            if change.plural == self._resource.plural:
                yield from self._event(change)

    def bookmark(self) -> Object:
        """An object that says nothing but up to which version everything has been told."""
        return {
            "kind": self._resource.kind,
            "apiVersion": self._resource.group_version,
            "metadata": {"resourceVersion": str(self._version), "creationTimestamp": None},
        }

    def _event(self, change: Change) -> Iterator[tuple[str, Object]]:
        before, after = self._selected(change.before), self._selected(change.after)
        if after:
            yield ("MODIFIED" if before else "ADDED"), after
        elif before:
            before["metadata"]["resourceVersion"] = str(change.version)
            yield "DELETED", before

    def _selected(self, text: str | None) -> Object | None:
        if text is None:
            return None
        item: Object = json.loads(text)
        inside = self._namespace in ("", item["metadata"].get("namespace", ""))
        return item if inside and selectors.selected([item], self._query) else None
