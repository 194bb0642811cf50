"""What the API server's refusals mean.

They are told apart by code, reason and causes, never by their text. What they mean was read in the API server's source
and seen on a real one: a budget answers 429 with a cause, a server that is too busy 429 without, two budgets 500
without a reason, a terminating namespace 403 with a cause, a precondition 409.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import httpx2
from lightkube import ApiError

from upsd.domain.rack import EvictionAnswer

if TYPE_CHECKING:
    from lightkube.models.meta_v1 import Status

_RETRY_AFTER_S = 1.0


def eviction_answer(status: Status) -> EvictionAnswer | None:
    """What a refusal means for the pod; `None` if it says nothing about the pod."""
    causes = {cause.reason for cause in (status.details and status.details.causes) or ()}
    match status.code:
        case httpx2.codes.NOT_FOUND:
            return EvictionAnswer.GONE
        case httpx2.codes.TOO_MANY_REQUESTS if "DisruptionBudget" in causes:
            return EvictionAnswer.BUDGET
        case httpx2.codes.FORBIDDEN if "NamespaceTerminating" in causes:
            return EvictionAnswer.NAMESPACE
        case httpx2.codes.INTERNAL_SERVER_ERROR if not status.reason:
            # The server's other internal errors have the reason InternalError.
            return EvictionAnswer.TWO_BUDGETS
    return None


def retry_after_s(error: httpx2.HTTPStatusError) -> float:
    """What the header says, or the body if it is a Status; a moment, if neither does or the header gives a date."""
    told = error.response.headers.get("Retry-After", "")
    details = error.status.details if isinstance(error, ApiError) else None
    return float(told) if told.isdigit() else float((details and details.retryAfterSeconds) or _RETRY_AFTER_S)
