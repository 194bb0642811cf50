"""The fifth step: upsd's account in the cluster, with just the rights that it needs, and the kubeconfig for it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from upsd.ctl.setup.outcome import Outcome, SetupError, State
from upsd.ctl.setup.situation import write_secret_for_the_daemon
from upsd.ctl.system_files import shipped
from upsd.domain.rack import RackError
from upsd.rack.kubernetes import KubernetesCluster
from upsd.rack.kubernetes.administration import Administration

if TYPE_CHECKING:
    from pathlib import Path

    from upsd.ctl.setup.situation import Situation
    from upsd.settings import KubernetesSettings

MANIFEST: Final = "config/k3s/upsd-rbac.yaml"


def grant(situation: Situation) -> Outcome:
    """Apply the manifest and write the kubeconfig; one that works stays as it is."""
    kubernetes = situation.checked.kubernetes
    if kubernetes is None:
        return Outcome(State.LEFT_OUT, "there is no [kubernetes] in the settings")
    if situation.admin_kubeconfig is None:
        return Outcome(State.LEFT_OUT, "there is no kubeconfig of the cluster's administrator")
    try:
        return asyncio.run(_grant(kubernetes, Administration(situation.admin_kubeconfig)))
    except RackError as error:
        situation.left.append("upsd has no rights in the cluster yet: mend what is said above, and run setup again")
        return Outcome(State.FAILED, str(error))


async def _grant(kubernetes: KubernetesSettings, administration: Administration) -> Outcome:
    applied = await administration.apply(shipped(MANIFEST))
    granted = f"applied {', '.join(applied)}" if applied else "the rights are as they should be"
    path = kubernetes.kubeconfig
    trouble = await _trouble_with(kubernetes)
    if trouble is None:
        return Outcome(State.DONE if applied else State.NOTHING_TO_DO, f"{granted}; {path} works")
    text = administration.kubeconfig_for(await administration.token())
    kept = _keep(path)
    _write(path, text)
    if trouble := await _trouble_with(kubernetes):
        raise RackError(trouble)
    return Outcome(
        State.DONE, f"{granted}; wrote {path}" + (f"; the old one, which did not work, is {kept}" if kept else "")
    )


async def _trouble_with(kubernetes: KubernetesSettings) -> str | None:
    """Why upsd can't do with its kubeconfig what it has to do first; `None` if it can."""
    if not kubernetes.kubeconfig.exists():
        return f"there is no {kubernetes.kubeconfig}"
    cluster = KubernetesCluster(kubernetes.kubeconfig, kubernetes.request_timeout, kubernetes.servers)
    try:
        await cluster.nodes()
    except RackError as error:
        return str(error)
    return None


def _keep(path: Path) -> Path | None:
    if not path.exists():
        return None
    kept = path.with_name(f"{path.name}.before-setup")
    _write(kept, path.read_text(encoding="utf-8"))
    return kept


def _write(path: Path, text: str) -> None:
    try:
        write_secret_for_the_daemon(path, text)
    except OSError as error:
        raise SetupError(f"{path} can't be written ({error.strerror}); run upsctl setup again once it can") from None
