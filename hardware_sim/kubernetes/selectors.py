"""Lists: field selectors, label selectors, resource versions, and pages."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

from hardware_sim.kubernetes.objects import full_name
from hardware_sim.kubernetes.status import Refused, expired_page, invalid_version

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from hardware_sim.kubernetes.objects import Object

FIELDS = ("metadata.name", "metadata.namespace", "spec.nodeName", "spec.unschedulable", "status.phase")


def selected(items: Iterable[Object], query: Mapping[str, str]) -> list[Object]:
    """The objects that the query's `fieldSelector` and `labelSelector` leave.

    Raises:
        Refused: 400 for a field that cannot be selected by.
    """
    fields = _terms(query.get("fieldSelector", ""))
    labels = _terms(query.get("labelSelector", ""))
    for name, _, _ in fields:
        if name not in FIELDS:
            raise Refused(400, f"field label not supported: {name}")
    return [
        item
        for item in items
        if all((_field(item, name) == value) is wanted for name, wanted, value in fields)
        and all(_label_matches(item["metadata"]["labels"], *term) for term in labels)
    ]


def version_of(query: Mapping[str, str]) -> int:
    """The query's `resourceVersion`; 0 if there is none.

    Raises:
        Refused: 400 for what is no number.
    """
    version = query.get("resourceVersion") or "0"
    if not version.isdecimal():
        raise invalid_version(version)
    return int(version)


def page(
    items: list[Object], query: Mapping[str, str], *, version: int = 0, oldest: int = 0
) -> tuple[list[Object], str]:
    """The next page of the list by `limit` and `continue`, and the token of the one after it (empty: none).

    Args:
        items: The whole list.
        query: As sent.
        version: The store's version, at which the first page is made.
        oldest: The oldest version that the store remembers.

    Raises:
        Refused: 410 for a page of a list that is older than that.
    """
    token = query.get("continue", "")
    if token:
        made_at, *last = base64.urlsafe_b64decode(token).decode().split("/")
        if int(made_at) < oldest:
            raise expired_page()
        version = int(made_at)
        items = [item for item in items if full_name(item) > tuple(last)]
    limit = int(query.get("limit") or 0)
    if not 0 < limit < len(items):
        return items, ""
    end = "/".join((str(version), *full_name(items[limit - 1])))
    return items[:limit], base64.urlsafe_b64encode(end.encode()).decode()


def _terms(selector: str) -> list[tuple[str, bool, str | None]]:
    """The selector's parts as key, whether it must be equal, and the value (`None`: any)."""
    terms: list[tuple[str, bool, str | None]] = []
    for part in filter(None, selector.split(",")):
        key, sign, value = part.partition("=")
        wanted = not key.startswith("!") and not key.endswith("!")
        terms.append((key.strip("!"), wanted, value.removeprefix("=") if sign else None))
    return terms


def _field(item: Object, path: str) -> str:
    found: Any = item
    for part in path.split("."):
        found = found.get(part, "")
    return str(found).lower() if isinstance(found, bool) else str(found)


def _label_matches(labels: Mapping[str, str], key: str, wanted: bool, value: str | None) -> bool:  # noqa: FBT001
    found = key in labels if value is None else labels.get(key) == value
    return found is wanted
