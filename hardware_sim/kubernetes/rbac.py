"""What a user may do: RBAC's rules, the request as they see it, and the 403 of whoever has no rule for it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from hardware_sim.kubernetes.status import Refused

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from hardware_sim.kubernetes.objects import Object

REVIEWS = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
EVICTION = "/eviction"
VERBS = {"PATCH": "patch", "DELETE": "delete", "POST": "create", "PUT": "update"}


@dataclass(frozen=True, slots=True, order=True)
class Right:
    """One thing that can be done: a verb on the resource (`pods`, or `pods/eviction`) of a group (empty: core)."""

    group: str
    resource: str
    verb: str


@dataclass(frozen=True, slots=True)
class Rule:
    """All verbs on all the resources of all the groups; `*` stands for any."""

    groups: frozenset[str]
    resources: frozenset[str]
    verbs: frozenset[str]

    def allows(self, right: Right) -> bool:
        """Whether it grants that."""
        parts = ((self.groups, right.group), (self.resources, right.resource), (self.verbs, right.verb))
        return all(wanted in allowed or "*" in allowed for allowed, wanted in parts)

    def rights(self) -> Iterator[Right]:
        """Everything it grants, one by one."""
        for group in self.groups:
            for resource in self.resources:
                yield from (Right(group, resource, verb) for verb in self.verbs)


@dataclass(slots=True)
class Rights:
    """What a user may do, and what it has done with that."""

    user: str
    rules: tuple[Rule, ...]
    used: set[Right] = field(default_factory=set)
    denied: list[Right] = field(default_factory=list)

    def allow(self, right: Right) -> bool:
        """Whether a rule grants it."""
        return any(rule.allows(right) for rule in self.rules)

    def granted(self) -> set[Right]:
        """Everything that the rules grant."""
        return {right for rule in self.rules for right in rule.rights()}

    def check(self, right: Right, namespace: str, name: str) -> None:
        """Note the use of the right.

        Raises:
            Refused: 403 if there is no rule for it.
        """
        if self.allow(right):
            self.used.add(right)
            return
        self.denied.append(right)
        plural = right.resource.partition("/")[0]
        subject = f'{plural} "{name}"' if name else plural
        where = f'in the namespace "{namespace}"' if namespace else "at the cluster scope"
        asked = f'{right.verb} resource "{right.resource}" in API group "{right.group}" {where}'
        details: Object = {"kind": plural} | ({"name": name} if name else {})
        raise Refused(403, f'{subject} is forbidden: User "{self.user}" cannot {asked}', details=details)

    def review(self, body: Object) -> Object:
        """The answer to a SelfSubjectAccessReview."""
        asked = body["spec"].get("resourceAttributes") or {}
        parts = (asked.get("resource", ""), asked.get("subresource", ""))
        allowed = self.allow(Right(asked.get("group", ""), "/".join(filter(None, parts)), asked.get("verb", "")))
        answer: Object = {"allowed": allowed} | ({"reason": f"RBAC: allowed to {self.user}"} if allowed else {})
        return {
            "kind": "SelfSubjectAccessReview",
            "apiVersion": "authorization.k8s.io/v1",
            "metadata": {},
            "spec": body["spec"],
            "status": answer,
        }


EVERYTHING = Rights("kubernetes-admin", (Rule(*[frozenset("*")] * 3),))


def asked_right(method: str, path: str, found: Mapping[str, str], query: Mapping[str, str]) -> Right | None:
    """What the request wants to do; `None` for what everybody may who is known, such as discovery.

    Args:
        method: Of the request.
        path: Of the request.
        found: The parts of the path by name.
        query: Of the request.
    """
    if path.endswith(EVICTION):
        return Right("", f"pods{EVICTION}", VERBS[method])
    if "plural" not in found:
        return None
    _, *groups, _ = found["root"].split("/")
    verb = VERBS.get(method) or ("get" if "name" in found else "list")
    if verb == "list" and query.get("watch") in ("1", "true"):
        verb = "watch"
    return Right("".join(groups), found["plural"], verb)
