"""The `Status` objects with which an API server refuses, word for word as a real one writes them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hardware_sim.kubernetes.objects import Object

REASONS = {
    400: "BadRequest",
    401: "Unauthorized",
    403: "Forbidden",
    404: "NotFound",
    405: "MethodNotAllowed",
    409: "Conflict",
    415: "UnsupportedMediaType",
    422: "Invalid",
    429: "TooManyRequests",
    500: "InternalError",
    503: "ServiceUnavailable",
}


class Refused(Exception):  # noqa: N818 -- it is an answer, not a fault of ours
    """The request is answered with this `Status`."""

    def __init__(self, code: int, message: str, *, details: Object | None = None, reason: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.status: Object = {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": message,
            "reason": reason or REASONS[code],
            "code": code,
        }
        if details:
            self.status["details"] = details


def success() -> Object:
    """The answer to an eviction that was granted."""
    return {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201}


def not_found(plural: str, name: str) -> Refused:
    """404."""
    return Refused(404, f'{plural} "{name}" not found', details={"name": name, "kind": plural})


def conflict(plural: str, name: str, why: str) -> Refused:
    """409: a precondition does not hold."""
    message = f'Operation cannot be fulfilled on {plural} "{name}": {why}'
    return Refused(409, message, details={"name": name, "kind": plural})


def disruption_budget(budget: str, healthy: int, needed: int) -> Refused:
    """429 without Retry-After: the budget has no disruption to give."""
    message = "Cannot evict pod as it would violate the pod's disruption budget."
    cause = {
        "reason": "DisruptionBudget",
        "message": f"The disruption budget {budget} needs {needed} healthy pods and has {healthy} currently",
    }
    return Refused(429, message, details={"causes": [cause]})


def two_budgets() -> Refused:
    """500 with neither reason nor details, as the real server has it."""
    message = "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support."
    refused = Refused(500, message)
    del refused.status["reason"]
    return refused


def namespace_terminating(pod: str, namespace: str) -> Refused:
    """403: an eviction is a creation, and nothing is created in a namespace that goes away."""
    why = f"unable to create new content in namespace {namespace} because it is being terminated"
    cause = {
        "reason": "NamespaceTerminating",
        "message": f"namespace {namespace} is being terminated",
        "field": "metadata.namespace",
    }
    details = {"name": pod, "kind": "pods", "causes": [cause]}
    return Refused(403, f'pods "{pod}" is forbidden: {why}', details=details)
