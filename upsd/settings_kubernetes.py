"""The table `[kubernetes]`: the k3s API, how long a drain may take, and in which order workloads end."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field, field_validator

from upsd.settings_types import Duration, MachineName, Section, ServerAddress, Text


def _label(text: str) -> str:
    if not text.partition("=")[0] or text.count("=") > 1 or any(sign in text for sign in "! ,"):
        raise ValueError('is no label; write "key=value", or "key" for whatever value, one label in each text')
    return text


def _workload(text: str) -> str:
    if not re.fullmatch(r"(deployment|statefulset)(/[a-z0-9][a-z0-9.-]*){2}", text):
        raise ValueError('is no workload; write "deployment/namespace/name" or "statefulset/namespace/name"')
    return text


WorkloadName = Annotated[str, AfterValidator(_workload)]
Label = Annotated[Text, AfterValidator(_label)]


class TierSettings(Section):
    """Workloads that end together: those that any of these criteria takes."""

    name: MachineName = Field(examples=["databases"])
    namespaces: tuple[Text, ...] = ()
    labels: tuple[Label, ...] = ()
    priority_classes: tuple[Text, ...] = ()
    stateful_sets: bool = False


class KubernetesSettings(Section):
    """The k3s API."""

    kubeconfig: Path = Path("/etc/upsd/kubeconfig")  # or credential upsd_kubeconfig
    servers: tuple[ServerAddress, ...] = ()  # none: the one in the kubeconfig
    request_timeout: Duration = 5.0
    cordon_expected: Duration = 2.0
    drain_expected: Duration = 40.0
    drain_limit: Duration = 180.0
    budget_patience: Duration = 10.0
    delete_grace: Duration = 5.0
    ready_limit: Duration = 600.0
    scale_to_zero: tuple[WorkloadName, ...] = ()
    tiers: tuple[TierSettings, ...] = ()  # none: apps, StatefulSets, system

    @field_validator("tiers")
    @classmethod
    def _are_told_apart(cls, tiers: tuple[TierSettings, ...]) -> tuple[TierSettings, ...]:
        for tier in tiers[1:]:
            if not (tier.namespaces or tier.labels or tier.priority_classes or tier.stateful_sets):
                raise ValueError(
                    f"{tier.name} takes no pods; add namespaces, labels, priority_classes or stateful_sets to it"
                    " (only the first tier takes what no other does)"
                )
        if len({tier.name for tier in tiers}) < len(tiers):
            raise ValueError("two tiers have the same name; give every tier its own")
        return tiers
