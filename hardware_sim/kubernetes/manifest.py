"""Rights as a manifest grants them: its ClusterRoles, through its ClusterRoleBindings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lightkube.codecs import load_all_yaml
from lightkube.resources.rbac_authorization_v1 import ClusterRole, ClusterRoleBinding

from hardware_sim.kubernetes.rbac import Rights, Rule

if TYPE_CHECKING:
    from pathlib import Path


def rights_of(manifest: Path, namespace: str, account: str) -> Rights:
    """What the ServiceAccount may do in the whole cluster."""
    objects: list[Any] = load_all_yaml(manifest.read_text())  # whose classes mypy takes for impossible
    roles = {found.metadata.name: found for found in objects if isinstance(found, ClusterRole) and found.metadata}
    bound = [
        roles[binding.roleRef.name]
        for binding in objects
        if isinstance(binding, ClusterRoleBinding)
        for subject in binding.subjects or ()
        if (subject.kind, subject.namespace, subject.name) == ("ServiceAccount", namespace, account)
    ]
    rules = tuple(
        Rule(frozenset(rule.apiGroups or ()), frozenset(rule.resources or ()), frozenset(rule.verbs))
        for role in bound
        for rule in role.rules or ()
    )
    return Rights(f"system:serviceaccount:{namespace}:{account}", rules)
