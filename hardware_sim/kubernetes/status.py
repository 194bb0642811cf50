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
    410: "Expired",
    415: "UnsupportedMediaType",
    422: "Invalid",
    429: "TooManyRequests",
    500: "InternalError",
    503: "ServiceUnavailable",
    504: "Timeout",
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

    @property
    def headers(self) -> dict[str, str]:
        """Retry-After, if the details say when."""
        seconds = self.status.get("details", {}).get("retryAfterSeconds")
        return {"Retry-After": str(seconds)} if seconds else {}


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


def expired(version: int, oldest: int) -> Refused:
    """410: what came after that version is forgotten."""
    return Refused(410, f"too old resource version: {version} ({oldest})")


def expired_page() -> Refused:
    """410: the list that the page belongs to is forgotten."""
    why = "The provided continue parameter is too old to display a consistent list result"
    return Refused(410, f"{why}. You can start a new list without the continue parameter.")


def future_version(version: int, current: int) -> Refused:
    """504 with Retry-After, to a list that must not be older than a version which is not there yet."""
    cause = {"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}
    message = f"Timeout: Too large resource version: {version}, current: {current}"
    return Refused(504, message, details={"causes": [cause], "retryAfterSeconds": 1})


def invalid_version(version: str) -> Refused:
    """400: resource versions are numbers, though clients should not know."""
    return Refused(400, f"resourceVersion: Invalid value: {version!r}: strconv.ParseUint: invalid syntax")


def no_initial_events() -> Refused:
    """422, which tells a client to list first and watch then."""
    why = "sendInitialEvents is forbidden for watch unless the WatchList feature gate is enabled"
    cause = {"reason": "FieldValueForbidden", "message": f"Forbidden: {why}", "field": "sendInitialEvents"}
    message = f'ListOptions.meta.k8s.io "" is invalid: sendInitialEvents: Forbidden: {why}'
    return Refused(422, message, details={"group": "meta.k8s.io", "kind": "ListOptions", "causes": [cause]})
