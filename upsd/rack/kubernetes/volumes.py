"""PersistentVolumes: which claims are on a file server, and on which."""

from __future__ import annotations

import msgspec
from lightkube.core.resource import ApiInfo, GlobalResource, ResourceDef

from upsd.rack.kubernetes.objects import Metadata, NfsVolume


class CsiVolume(msgspec.Struct, frozen=True):
    """What a driver is told of its volume."""

    volumeAttributes: dict[str, str] = {}  # noqa: N815


class ClaimReference(msgspec.Struct, frozen=True):
    """The claim that a PersistentVolume is bound to."""

    namespace: str = ""
    name: str = ""


class VolumeSpec(msgspec.Struct, frozen=True):
    """What is read of a PersistentVolume's spec."""

    nfs: NfsVolume | None = None
    csi: CsiVolume | None = None
    claimRef: ClaimReference | None = None  # noqa: N815


class VolumeResource(GlobalResource, msgspec.Struct, frozen=True):
    """A PersistentVolume."""

    metadata: Metadata
    spec: VolumeSpec = VolumeSpec()

    _api_info = ApiInfo(ResourceDef("", "v1", "PersistentVolume"), "persistentvolumes", ["list"])


def file_server_of(volume: VolumeResource) -> tuple[str, str] | None:
    """The claim (`namespace/name`) that is bound to the volume, and the address of the file server that it is on.

    The names of the attributes are those of csi-driver-nfs (`server`) and csi-driver-smb (`source: //server/share`).
    """
    spec = volume.spec
    attributes = spec.csi.volumeAttributes if spec.csi else {}
    share = attributes.get("source", "").replace("\\", "/")
    server = spec.nfs.server if spec.nfs else attributes.get("server") or share.lstrip("/").partition("/")[0]
    return (f"{spec.claimRef.namespace}/{spec.claimRef.name}", server) if server and spec.claimRef else None
