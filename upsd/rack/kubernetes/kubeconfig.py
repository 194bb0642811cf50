"""The kubeconfig and the files that it names: what they say, and whether they have changed since.

Tokens of ServiceAccounts are renewed in files of their own, client certificates in the kubeconfig itself or beside it.
"""

from __future__ import annotations

import base64
import ssl
from pathlib import Path
from typing import TYPE_CHECKING

from cryptography import x509
from lightkube import ConfigError, KubeConfig
from lightkube.config.client_adapter import verify_cluster

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from lightkube import SingleConfig
    from lightkube.config.models import User

Versions = tuple[tuple[int, ...], ...]


def read(kubeconfig: Path) -> tuple[SingleConfig, User, tuple[Path, ...]]:
    """The current context, its user with the token that stands in a file of its own, and the files that are named.

    Raises:
        Exception: as many kinds as a file that people write can be wrong in.
    """
    config = KubeConfig.from_file(kubeconfig).get()
    if config is None or config.user is None:
        raise ConfigError("its current context names no user")
    user = config.user
    named = (config.cluster.certificate_auth, user.client_cert, user.client_key, user.token_file)
    files = tuple(Path(config.abs_file(name)) for name in named if name)
    if user.token_file:
        # lightkube would read it by itself, but not relative to the kubeconfig, and not before it is refused.
        user.token, user.token_file = Path(config.abs_file(user.token_file)).read_text().strip(), None
    return config, user, files


def versions_of(paths: Iterable[Path]) -> Versions:
    """What is another one when the content of any of the files is, or whether it is there."""
    return tuple(map(_version, paths))


def tls_of(config: SingleConfig, user: User) -> ssl.SSLContext:
    """Trust the cluster's CA, as Kubernetes clients do, and show the user's certificate, if it has one.

    Since Python 3.13 a CA must carry extensions by default (`VERIFY_X509_STRICT`) that private CAs often lack. The
    one that the kubeconfig pins is trusted without them; signatures, names and dates are verified all the same.
    """
    context = verify_cluster(config.cluster, user, config.abs_file, trust_env=False)
    if config.cluster.certificate_auth or config.cluster.certificate_auth_data:
        context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    return context


def certificate_ends(config: SingleConfig, user: User) -> datetime | None:
    """Until when the user's certificate is good; `None` if it has none."""
    if user.client_cert_data:
        text = base64.b64decode(user.client_cert_data)
    elif user.client_cert:
        text = Path(config.abs_file(user.client_cert)).read_bytes()
    else:
        return None
    return x509.load_pem_x509_certificate(text).not_valid_after_utc


def _version(path: Path) -> tuple[int, ...]:
    try:
        found = path.stat()
    except OSError:
        return ()
    return found.st_mtime_ns, found.st_ino, found.st_size
