"""Server-side apply, by which objects come into being, and what the token controller makes of one kind of Secret.

A field that an older apply has set and this one leaves out stays, since nobody keeps the owners of fields here.
"""

from __future__ import annotations

import base64
import copy
from typing import TYPE_CHECKING

from hardware_sim.kubernetes.patch import MERGE_TYPE, patched
from hardware_sim.kubernetes.status import Refused, not_found

if TYPE_CHECKING:
    from collections.abc import Callable

    from hardware_sim.kubernetes.cluster import SimulatedCluster
    from hardware_sim.kubernetes.objects import Object

APPLY_TYPE = "application/apply-patch+yaml"
TOKEN_TYPE = "kubernetes.io/service-account-token"  # noqa: S105 -- the name of a type
ACCOUNT = "kubernetes.io/service-account.name"
CONTROLLER_S = 0.1


def applied(cluster: SimulatedCluster, plural: str, namespace: str, name: str, wanted: Object) -> tuple[Object, bool]:
    """The object as it is after the apply, and whether it was made now; one that is as it should be stays untouched.

    Raises:
        Refused: 400 for another name in the body, 404 without its namespace, or what a merge patch is refused with.
    """
    described = wanted["metadata"]
    if (described.get("namespace", ""), described["name"]) != (namespace, name):
        raise Refused(400, "the name of the object does not match the name on the URL")
    before = cluster.store.find(plural, namespace, name)
    if before is not None:
        after = patched(plural, before, MERGE_TYPE, wanted)
        if after != before:
            cluster.store.put(plural, after)
        return after, False
    if namespace and not cluster.store.find("namespaces", "", namespace):
        raise not_found("namespaces", namespace)
    made = copy.deepcopy(wanted)
    made["metadata"] = {"labels": {}, "annotations": {}, **made["metadata"]}
    cluster.create(plural, made)
    if plural == "secrets" and made.get("type") == TOKEN_TYPE:
        cluster.at(cluster.now + CONTROLLER_S, _token_controller(cluster, namespace, name))
    return made, True


def account_of(cluster: SimulatedCluster, token: str) -> tuple[str, str] | None:
    """Whose token it is: namespace and name of a ServiceAccount; nobody's, if there is no such Secret or account."""
    data = base64.b64encode(token.encode()).decode()
    for secret in cluster.store.items("secrets"):
        namespace, name = secret["metadata"]["namespace"], secret["metadata"]["annotations"].get(ACCOUNT, "")
        if secret.get("data", {}).get("token") == data and cluster.store.find("serviceaccounts", namespace, name):
            return namespace, name
    return None


def _token_controller(cluster: SimulatedCluster, namespace: str, name: str) -> Callable[[], None]:
    def fill() -> None:
        found = cluster.store.find("secrets", namespace, name)
        if found is None:
            return
        filled = copy.deepcopy(found)
        token = f"token-of-{namespace}-{found['metadata']['uid']}"
        filled["data"] = {"token": base64.b64encode(token.encode()).decode()}
        cluster.store.put("secrets", filled)

    return fill
