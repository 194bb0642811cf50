"""The TLS certificate of the simulated API server, and the CA that a kubeconfig pins."""

from __future__ import annotations

import ssl
from dataclasses import dataclass

import trustme


@dataclass(frozen=True, slots=True)
class ServerIdentity:
    """What a server shows, and by what its clients know it."""

    context: ssl.SSLContext
    ca_pem: bytes


def fresh_identity(host: str = "127.0.0.1") -> ServerIdentity:
    """A new CA with a certificate for the address."""
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(host, "localhost").configure_cert(context)
    return ServerIdentity(context, authority.cert_pem.bytes())
