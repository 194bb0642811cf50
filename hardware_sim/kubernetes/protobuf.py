"""The one body that kubectl 1.37 sends in protobuf (1.32 did not): the question what its user may do.

Sources: the envelope is that of `k8s.io/apimachinery/pkg/runtime/serializer/protobuf` (magic number, then
`runtime.Unknown` with the object in field 2), the fields are those of `k8s.io/api/authorization/v1/generated.proto`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from hardware_sim.kubernetes.objects import Object

MEDIA_TYPE: Final = "application/vnd.kubernetes.protobuf"
_MAGIC: Final = b"k8s\0"
_OBJECT: Final = 2
_SPEC: Final = 2
_RESOURCE_ATTRIBUTES: Final = 1
_ATTRIBUTES: Final = {
    1: "namespace",
    2: "verb",
    3: "group",
    4: "version",
    5: "resource",
    6: "subresource",
    7: "name",
}


def access_review(body: bytes) -> Object:
    """A SelfSubjectAccessReview as its JSON would be.

    Raises:
        ValueError: it is none.
    """
    if not body.startswith(_MAGIC):
        raise ValueError("the magic number is missing")
    review = _fields(_fields(body[len(_MAGIC) :]).get(_OBJECT, b""))
    attributes = _fields(_fields(review.get(_SPEC, b"")).get(_RESOURCE_ATTRIBUTES, b""))
    named = {_ATTRIBUTES[number]: value.decode() for number, value in attributes.items() if number in _ATTRIBUTES}
    return {"kind": "SelfSubjectAccessReview", "spec": {"resourceAttributes": named}}


def _fields(message: bytes) -> dict[int, bytes]:
    """The fields of a message that have a length, by number."""
    found, at = {}, 0
    while at < len(message):
        tag, at = _varint(message, at)
        number, kind = tag >> 3, tag & 7
        length, at = _varint(message, at)
        if kind == 0:
            continue
        if kind != 2 or at + length > len(message):
            raise ValueError("the message is torn")
        found[number] = message[at : at + length]
        at += length
    return found


def _varint(message: bytes, at: int) -> tuple[int, int]:
    """A number of seven bits a byte, the lowest first, and where it ends."""
    value = 0
    for place, byte in enumerate(message[at : at + 10]):
        value |= (byte & 0x7F) << (7 * place)
        if byte < 0x80:
            return value, at + place + 1
    raise ValueError("the message is torn")
