"""Rights as objects grant them: ClusterRoles, through ClusterRoleBindings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lightkube.codecs import load_all_yaml

from hardware_sim.kubernetes.rbac import Rights, Rule

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from hardware_sim.kubernetes.objects import Object


def rights_of(manifest: Path, namespace: str, account: str) -> Rights:
    """What the ServiceAccount may do in the whole cluster, once the manifest is applied."""
    objects: list[Any] = load_all_yaml(manifest.read_text())
    return granted([found.to_dict() for found in objects], namespace, account)


def granted(objects: Iterable[Object], namespace: str, account: str) -> Rights:
    """What the ServiceAccount may do in the whole cluster, if these are its objects."""
    known = {(found["kind"], found["metadata"]["name"]): found for found in objects}
    subject = {"kind": "ServiceAccount", "namespace": namespace, "name": account}
    bound = [
        known["ClusterRole", binding["roleRef"]["name"]]
        for (kind, _), binding in known.items()
        if kind == "ClusterRoleBinding" and subject in binding.get("subjects", ())
    ]
    rules = tuple(
        Rule(*(frozenset(rule.get(part, ())) for part in ("apiGroups", "resources", "verbs")))
        for role in bound
        for rule in role.get("rules", ())
    )
    return Rights(f"system:serviceaccount:{namespace}:{account}", rules)
