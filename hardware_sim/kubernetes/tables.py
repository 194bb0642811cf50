"""The `Table` form of lists, in which kubectl asks for what it prints."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from hardware_sim.kubernetes import objects

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from hardware_sim.kubernetes.objects import Object

    Column = tuple[str, Callable[[Object, str], str]]

ROLE = "node-role.kubernetes.io/"


def table(plural: str, items: Sequence[Object], now: str, *, header: bool = True) -> Object:
    """The objects as rows; `now` is the date by which their age counts. A watch gets the `header` only once."""
    columns, wide = COLUMNS.get(plural, COLUMNS["*"])
    return {
        "kind": "Table",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": {},
        "columnDefinitions": [
            {"name": name, "type": "string", "format": "", "description": "", "priority": priority}
            for priority, group in enumerate((columns, wide))
            for name, _ in group
        ]
        if header
        else None,
        "rows": [
            {
                "cells": [cell(item, now) for _, cell in (*columns, *wide)],
                "object": {
                    "kind": "PartialObjectMetadata",
                    "apiVersion": "meta.k8s.io/v1",
                    "metadata": item["metadata"],
                },
            }
            for item in items
        ],
    }


def _name(item: Object, _: str) -> str:
    return str(item["metadata"]["name"])


def _age(item: Object, now: str) -> str:
    elapsed = datetime.fromisoformat(now) - datetime.fromisoformat(item["metadata"]["creationTimestamp"])
    seconds = int(elapsed.total_seconds())
    for size, unit in ((86400, "d"), (3600, "h"), (60, "m")):
        if seconds >= 2 * size:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"


def _node_status(item: Object, _: str) -> str:
    ready = "Ready" if objects.is_ready(item) else "NotReady"
    return ready + ",SchedulingDisabled" * bool(item["spec"].get("unschedulable"))


def _roles(item: Object, _: str) -> str:
    roles = [label.removeprefix(ROLE) for label in item["metadata"]["labels"] if label.startswith(ROLE)]
    return ",".join(sorted(roles)) or "<none>"


def _node_info(key: str) -> Callable[[Object, str], str]:
    return lambda item, _: str(item["status"]["nodeInfo"][key])


def _address(item: Object, _: str) -> str:
    return str(item["status"]["addresses"][0]["address"])


def _pod_ready(item: Object, _: str) -> str:
    return f"{int(objects.is_ready(item))}/{len(item['spec']['containers'])}"


def _pod_status(item: Object, _: str) -> str:
    if objects.is_terminating(item):
        return "Terminating"
    phase = str(item["status"]["phase"])
    if phase == "Pending" and objects.node_of(item):
        return "ContainerCreating"
    return "Completed" if phase == "Succeeded" else phase


def _pod_address(item: Object, _: str) -> str:
    return str(item["status"].get("podIP", "<none>"))


def _pod_node(item: Object, _: str) -> str:
    return objects.node_of(item) or "<none>"


COLUMNS: dict[str, tuple[tuple[Column, ...], tuple[Column, ...]]] = {
    "nodes": (
        (
            ("Name", _name),
            ("Status", _node_status),
            ("Roles", _roles),
            ("Age", _age),
            ("Version", _node_info("kubeletVersion")),
        ),
        (
            ("Internal-IP", _address),
            ("OS-Image", _node_info("osImage")),
            ("Kernel-Version", _node_info("kernelVersion")),
        ),
    ),
    "pods": (
        (
            ("Name", _name),
            ("Ready", _pod_ready),
            ("Status", _pod_status),
            ("Restarts", lambda *_: "0"),
            ("Age", _age),
        ),
        (("IP", _pod_address), ("Node", _pod_node)),
    ),
    "*": ((("Name", _name), ("Age", _age)), ()),
}
"""By kind: the columns that are always shown, and those of `-o wide`."""
