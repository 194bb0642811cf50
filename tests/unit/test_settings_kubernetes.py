"""What a person may count on who writes how a cluster is drained."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from hardware_sim.memory_rack import MemoryOutlets
from tests.unit.settings_files import MASTER, RACK, load, problems
from upsd import adapters
from upsd.domain.rack import Workload
from upsd.shutdown.floor import AMPLE
from upsd.shutdown.tiers import DEFAULT_TIERS, Tier

if TYPE_CHECKING:
    from pathlib import Path

    from upsd.shutdown.steps import DrainRules, Rack

APPS = '[[kubernetes.tiers]]\nname = "apps"\n'
NAS = '[nas]\nmount = "/mnt/nas"\nwatts = 18\n'


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the settings file is."""
    return tmp_path / "upsd.toml"


def rack(path: Path, text: str) -> Rack:
    """What the steps of the daemon act on."""
    return adapters.rack(
        load(path, MASTER + text),
        emit=lambda _: None,
        outlets=MemoryOutlets([]),
        cluster=None,
        hosts={},
        battery=lambda: AMPLE,
        load=lambda: None,
    )


def rules(path: Path, text: str) -> DrainRules:
    """What the drains of the daemon go by."""
    return rack(path, text).drain


def test_without_tiers_the_usual_order_holds(path: Path) -> None:
    """Apps, databases, system; and there is no NAS to ask about."""
    found = rules(path, "[kubernetes]\n")
    assert (found.tiers, found.nas, found.budget_patience_s, found.delete_grace_s) == (DEFAULT_TIERS, None, 10.0, 5)


def test_tiers_are_taken_over_as_they_are_written(path: Path) -> None:
    """In their order, with all their criteria."""
    stores = (
        '[[kubernetes.tiers]]\nname = "stores"\nnamespaces = ["data"]\nlabels = ["tier=store", "keep"]\n'
        'priority_classes = ["high-*"]\nstateful_sets = true\n'
    )
    found = rules(path, '[kubernetes]\nbudget_patience = "20s"\n' + APPS + stores)
    assert found.tiers == (
        Tier("apps"),
        Tier("stores", ("data",), ("tier=store", "keep"), ("high-*",), stateful_sets=True),
    )
    assert found.budget_patience_s == 20


def test_a_pod_is_never_given_no_time_at_all(path: Path) -> None:
    """Half a second is rounded up, as a grace of 0 would have the API forget a pod that still runs."""
    assert rules(path, "[kubernetes]\ndelete_grace = 0.4\n").delete_grace_s == 1


def test_the_nas_is_known_by_its_address(path: Path) -> None:
    """If it has one."""
    assert rules(path, "[kubernetes]\n" + NAS).nas == ""


def test_workloads_to_scale_are_written_with_kind_namespace_and_name(path: Path) -> None:
    """Anything else is refused with the right form."""
    text = '[kubernetes]\nscale_to_zero = ["deployment/web/shop", "statefulset/data/db"]\n'
    assert rack(path, text).scaled == (Workload("Deployment", "web", "shop"), Workload("StatefulSet", "data", "db"))
    (problem,) = problems(path, RACK + 'scale_to_zero = ["web/shop"]\n')
    assert problem.startswith('kubernetes.scale_to_zero.0: is no workload; write "deployment/namespace/name"')


@pytest.mark.parametrize(
    ("tiers", "says"),
    [
        (APPS + APPS.replace("apps", "rest"), "kubernetes.tiers: rest takes no pods; add namespaces"),
        (APPS + APPS + 'namespaces = ["data"]\n', "kubernetes.tiers: two tiers have the same name"),
        (APPS + 'labels = ["a, b"]\n', "kubernetes.tiers.0.labels.0: is no label"),
        (APPS + 'label = ["a"]\n', "kubernetes.tiers.0.label: no such key; did you mean labels?"),
    ],
)
def test_a_tier_that_cannot_be_meant_is_refused_in_words(path: Path, tiers: str, says: str) -> None:
    """Each mistake is named with what to do."""
    (problem,) = problems(path, RACK + tiers)
    assert problem.startswith(says)
