"""PATCH as an API server applies it: strategic merge, merge and JSON patch.

A strategic merge is applied as a plain merge: the two differ only in lists, and nobody here patches lists.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

from hardware_sim.kubernetes.status import Refused, conflict

if TYPE_CHECKING:
    from hardware_sim.kubernetes.objects import Object

MERGE_TYPES = ("application/merge-patch+json", "application/strategic-merge-patch+json")
JSON_TYPE = "application/json-patch+json"


def patched(plural: str, item: Object, content_type: str, patch: Any) -> Object:
    """The object as it is after the patch; the one given is left alone.

    Raises:
        Refused: 409 for another resource version, 422 for another UID or a failed test, 415 for another kind of patch.
    """
    before, result = item["metadata"], copy.deepcopy(item)
    if content_type in MERGE_TYPES:
        _merge(result, patch)
    elif content_type == JSON_TYPE:
        for operation in patch:
            _operate(result, operation)
    else:
        raise Refused(415, f"the body of the request was in an unknown format: {content_type}")
    after = result["metadata"]
    if after["resourceVersion"] != before["resourceVersion"]:
        why = "the object has been modified; please apply your changes to the latest version and try again"
        raise conflict(plural, before["name"], why)
    if after["uid"] != before["uid"]:
        raise Refused(422, f'{plural} "{before["name"]}" is invalid: metadata.uid: field is immutable')
    return result


def _merge(target: Object, patch: Object) -> None:
    for key, value in patch.items():
        if value is None:
            target.pop(key, None)
        elif isinstance(value, dict):
            if not isinstance(target.get(key), dict):
                target[key] = {}
            _merge(target[key], value)
        else:
            target[key] = value


def _operate(target: Object, operation: Object) -> None:
    *parents, last = (part.replace("~1", "/").replace("~0", "~") for part in operation["path"].lstrip("/").split("/"))
    found: Any = target
    for part in parents:
        found = found.get(part) if isinstance(found, dict) else None
    verb = operation["op"]
    if not isinstance(found, dict) or (verb in ("remove", "replace") and last not in found):
        raise Refused(422, f"the server rejected our request: no {operation['path']} to {verb}")
    if verb == "test":
        if found.get(last) != operation["value"]:
            raise Refused(422, f"the server rejected our request: testing {operation['path']} failed")
    elif verb == "remove":
        del found[last]
    elif verb in ("add", "replace"):
        found[last] = operation["value"]
    else:
        raise Refused(400, f"unsupported operation in a JSON patch: {verb}")
