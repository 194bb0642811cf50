"""PATCH as an API server applies it: merge patch (RFC 7386), JSON patch (RFC 6902), and strategic merge.

A strategic merge differs from a merge in the lists whose entries have a key: it changes the entry with that key, adds
one, or takes it away (`$patch: delete`).
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

from hardware_sim.kubernetes.status import Refused, conflict

if TYPE_CHECKING:
    from hardware_sim.kubernetes.objects import Object

MERGE_TYPE = "application/merge-patch+json"
STRATEGIC_TYPE = "application/strategic-merge-patch+json"
JSON_TYPE = "application/json-patch+json"
KNOWN_TYPES = (JSON_TYPE, MERGE_TYPE, STRATEGIC_TYPE)
MERGE_KEYS = {
    "addresses": "type",
    "conditions": "type",
    "containers": "name",
    "ownerReferences": "uid",
    "volumes": "name",
}
"""By field: what tells the entries of its list apart in a strategic merge. All other lists are replaced."""


def patched(plural: str, item: Object, content_type: str, patch: Any) -> Object:
    """The object as it is after the patch; the one given is left alone.

    Raises:
        Refused: 400 for a body that is no such patch, 409 for another resource version, 415 for another kind of patch,
            422 for another UID or a failed test.
    """
    before, result = item["metadata"], copy.deepcopy(item)
    if content_type == JSON_TYPE and isinstance(patch, list):
        for operation in patch:
            _operate(result, operation)
    elif content_type in (MERGE_TYPE, STRATEGIC_TYPE) and isinstance(patch, dict):
        _merge(result, patch, strategic=content_type == STRATEGIC_TYPE)
    elif content_type in KNOWN_TYPES:
        raise Refused(400, "error decoding patch: json: cannot unmarshal the body into a patch of that type")
    else:
        accepted = ", ".join(KNOWN_TYPES)
        raise Refused(
            415, f"the body of the request was in an unknown format - accepted media types include: {accepted}"
        )
    after = result["metadata"]
    if after["resourceVersion"] != before["resourceVersion"]:
        why = "the object has been modified; please apply your changes to the latest version and try again"
        raise conflict(plural, before["name"], why)
    if after["uid"] != before["uid"]:
        raise Refused(422, f'{plural} "{before["name"]}" is invalid: metadata.uid: field is immutable')
    return result


def _merge(target: Object, patch: Object, *, strategic: bool) -> None:
    for key, value in patch.items():
        if value is None:
            target.pop(key, None)
        elif isinstance(value, dict):
            if not isinstance(target.get(key), dict):
                target[key] = {}
            _merge(target[key], value, strategic=strategic)
        elif strategic and key in MERGE_KEYS and isinstance(value, list):
            target[key] = _merged(target.get(key) or [], value, MERGE_KEYS[key])
        else:
            target[key] = value


def _merged(entries: list[Object], changes: list[Object], key: str) -> list[Object]:
    found = {entry[key]: entry for entry in entries}
    for change in changes:
        if change.get("$patch") == "delete":
            found.pop(change[key], None)
        else:
            _merge(found.setdefault(change[key], {}), change, strategic=True)
    return list(found.values())


def _operate(target: Object, operation: Object) -> None:
    path, verb = operation["path"], operation["op"]
    *parents, last = (part.replace("~1", "/").replace("~0", "~") for part in path.lstrip("/").split("/"))
    holder: Any = target
    for part in parents:
        holder = _member(holder, part)
    if not isinstance(holder, dict | list) or (verb in ("remove", "replace") and _member(holder, last) is None):
        raise Refused(422, f"the server rejected our request: no {path} to {verb}")
    key: Any = last
    if isinstance(holder, list):
        key = len(holder) if last == "-" else int(last)
    if verb == "test":
        if _member(holder, last) != operation["value"]:
            raise Refused(422, f"the server rejected our request: testing {path} failed")
    elif verb == "remove":
        del holder[key]
    elif verb == "add" and isinstance(holder, list):
        holder.insert(key, operation["value"])
    elif verb in ("add", "replace"):
        holder[key] = operation["value"]
    else:
        raise Refused(400, f"unsupported operation in a JSON patch: {verb}")


def _member(holder: Any, key: str) -> Any:
    """What is there under the key or the index; `None` if nothing is."""
    if isinstance(holder, list):
        return holder[int(key)] if key.isdecimal() and int(key) < len(holder) else None
    return holder.get(key) if isinstance(holder, dict) else None
