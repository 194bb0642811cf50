"""Changing a kubeconfig by hand, as people do."""

from __future__ import annotations

import json
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@contextmanager
def editing(kubeconfig: Path) -> Iterator[Any]:
    """Change the kubeconfig by hand."""
    config = json.loads(kubeconfig.read_text())
    yield config
    kubeconfig.write_text(json.dumps(config))
