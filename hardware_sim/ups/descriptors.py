"""The bridge's USB descriptors, as `lsusb` shows those of real ones; field names are those of USB.

Nobody has published the report descriptor but for its length: here it says what the reports are.
"""

from __future__ import annotations

import struct
from types import SimpleNamespace
from typing import Final

VENDOR_ID: Final = 0x04B4
PRODUCT_ID: Final = 0x5500
IN_ENDPOINT: Final = 0x81
OUT_ENDPOINT: Final = 0x02
REPORT_LENGTH: Final = 8
BUS: Final = 1
PORT_NUMBERS: Final = (4,)

_LOW_SPEED: Final = 1
_INTERRUPT: Final = 3
_HID_CLASS: Final = 3
_STRINGS: Final = {1: "Cypress Semiconductor", 2: "USB to Serial", 3: "Sample HID"}
_HID_DESCRIPTOR: Final = bytes.fromhex("09 21 00 01 00 01 22 25 00")
_REPORT_DESCRIPTOR: Final = bytes.fromhex(
    "06 00 FF 09 01 A1 01"  # usage page and usage: the vendor's; an application
    "15 00 26 FF 00 75 08"  # fields of one byte, 0 to 255
    "19 01 29 08 95 08 81 02"  # eight in
    "19 01 29 08 91 02"  # eight out
    "19 01 29 05 95 05 B1 02"  # five of set-up
    "C0"
)
_DEVICE_FIELDS: Final = struct.Struct("<BBHBBBBHHHBBBB")
_CONFIGURATION_FIELDS: Final = struct.Struct("<BBHBBBBB")
_INTERFACE_FIELDS: Final = struct.Struct("<9B")
_ENDPOINT_FIELDS: Final = struct.Struct("<BBBBHB")

CONFIGURATION: Final = SimpleNamespace(
    bLength=9,
    bDescriptorType=2,
    wTotalLength=41,
    bNumInterfaces=1,
    bConfigurationValue=1,
    iConfiguration=3,
    bmAttributes=0x80,
    bMaxPower=50,
    extra_descriptors=[],
)
INTERFACE: Final = SimpleNamespace(
    bLength=9,
    bDescriptorType=4,
    bInterfaceNumber=0,
    bAlternateSetting=0,
    bNumEndpoints=2,
    bInterfaceClass=_HID_CLASS,
    bInterfaceSubClass=0,
    bInterfaceProtocol=0,
    iInterface=0,
    extra_descriptors=list(_HID_DESCRIPTOR),
)
ENDPOINTS: Final = tuple(
    SimpleNamespace(
        bLength=7,
        bDescriptorType=5,
        bEndpointAddress=address,
        bmAttributes=_INTERRUPT,
        wMaxPacketSize=8,
        bInterval=10,
        bRefresh=0,
        bSynchAddress=0,
        extra_descriptors=[],
    )
    for address in (IN_ENDPOINT, OUT_ENDPOINT)
)


def device_descriptor(address: int) -> SimpleNamespace:
    """The device descriptor, with where on the bus it sits."""
    return SimpleNamespace(
        bLength=18,
        bDescriptorType=1,
        bcdUSB=0x0100,
        bDeviceClass=0,
        bDeviceSubClass=0,
        bDeviceProtocol=0,
        bMaxPacketSize0=8,
        idVendor=VENDOR_ID,
        idProduct=PRODUCT_ID,
        bcdDevice=0,
        iManufacturer=1,
        iProduct=2,
        iSerialNumber=0,
        bNumConfigurations=1,
        bus=BUS,
        address=address,
        port_number=PORT_NUMBERS[-1],
        port_numbers=PORT_NUMBERS,
        speed=_LOW_SPEED,
    )


def descriptor(kind: int, index: int) -> bytes | None:
    """What the device answers to GET_DESCRIPTOR for this type and index; `None` if it has no such thing."""
    match kind:
        case 1:
            return _packed(_DEVICE_FIELDS, device_descriptor(0))
        case 2 if index == 0:
            return configuration_descriptor()
        case 3:
            return _string_descriptor(index)
        case 0x21:
            return _HID_DESCRIPTOR
        case 0x22:
            return _REPORT_DESCRIPTOR
        case _:
            return None


def configuration_descriptor() -> bytes:
    """The only configuration with all that belongs to it."""
    endpoints = b"".join(_packed(_ENDPOINT_FIELDS, endpoint) for endpoint in ENDPOINTS)
    interface = _packed(_INTERFACE_FIELDS, INTERFACE) + _HID_DESCRIPTOR
    return _packed(_CONFIGURATION_FIELDS, CONFIGURATION) + interface + endpoints


def _packed(fields: struct.Struct, values: SimpleNamespace) -> bytes:
    """The fields in the order in which USB has them, which is that of `values`."""
    count = len(fields.unpack(bytes(fields.size)))
    return fields.pack(*list(vars(values).values())[:count])


def _string_descriptor(index: int) -> bytes | None:
    """A string; index 0 lists the languages (US English)."""
    if index == 0:
        text = b"\x09\x04"
    elif index in _STRINGS:
        text = _STRINGS[index].encode("utf-16-le")
    else:
        return None
    return bytes((2 + len(text), 3)) + text
