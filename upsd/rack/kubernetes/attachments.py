"""VolumeAttachments: which volume is attached to which node."""

from __future__ import annotations

import msgspec
from lightkube.core.resource import ApiInfo, GlobalResource, ResourceDef

from upsd.domain.rack import Attachment
from upsd.rack.kubernetes.objects import Metadata


class AttachmentSource(msgspec.Struct, frozen=True):
    """The volume; one that a pod describes itself has no name."""

    persistentVolumeName: str = ""  # noqa: N815


class AttachmentSpec(msgspec.Struct, frozen=True):
    """What is read of a VolumeAttachment's spec."""

    nodeName: str  # noqa: N815
    source: AttachmentSource = AttachmentSource()


class AttachmentResource(GlobalResource, msgspec.Struct, frozen=True):
    """A VolumeAttachment."""

    metadata: Metadata
    spec: AttachmentSpec

    _api_info = ApiInfo(ResourceDef("storage.k8s.io", "v1", "VolumeAttachment"), "volumeattachments", ["list"])


def attachment_of(found: AttachmentResource) -> Attachment:
    """The attachment, as far as a recovery cares."""
    return Attachment(found.spec.source.persistentVolumeName or found.metadata.name, found.spec.nodeName)
