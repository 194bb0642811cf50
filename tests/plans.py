"""A small rack, and what the tests of its plans ask of them."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from hypothesis import strategies as st

from upsd.shutdown.plan import ClusterShape, DatastoreShape, HostShape, RackShape, StorageShape

if TYPE_CHECKING:
    from upsd.domain.plan import Plan, Step, StepKind

CLUSTER = ClusterShape(cordon_s=3, drain_s=60, drain_limit_s=300, delete_grace_s=5, ready_limit_s=600)
NAS = StorageShape("nas", flush_s=5, limit_s=60, host=None)
RACK = RackShape(
    master=HostShape("k3s-master", 40, 120),
    workers=(HostShape("pi4-a", 20, 120), HostShape("pi4-b", 20, 120)),
    cluster=CLUSTER,
    storage=NAS,
    outlet_off_delay_s=180,
)

DATASTORE = DatastoreShape(snapshot_s=5, limit_s=60, stops=False)

roles = st.dictionaries(st.sampled_from(["pi4-a", "pi4-b", "pi3", "bananapi", "pi5"]), st.booleans())
shapes = st.builds(
    lambda roles, cluster, storage, datastore: replace(
        RACK,
        workers=tuple(HostShape(name, 20, 120, server=server) for name, server in roles.items()),
        cluster=cluster,
        storage=storage,
        datastore=datastore,
    ),
    roles,
    st.sampled_from([None, CLUSTER]),
    st.sampled_from([None, NAS, replace(NAS, host=HostShape("nas", 40, 120))]),
    st.sampled_from([None, DATASTORE, replace(DATASTORE, stops=True)]),
)


def before(plan: Plan, step_id: str) -> set[str]:
    """Everything that is over before a step starts."""
    by_id = {step.id: step for step in plan.steps}
    found: set[str] = set()
    ahead = list(by_id[step_id].needs)
    while ahead:
        need = ahead.pop()
        if need not in found:
            found.add(need)
            ahead += by_id[need].needs
    return found


def ids(plan: Plan) -> list[str]:
    """The steps' ids in order."""
    return [step.id for step in plan.steps]


def of_kind(plan: Plan, kind: StepKind) -> list[Step]:
    """The steps of a kind."""
    return [step for step in plan.steps if step.kind is kind]
