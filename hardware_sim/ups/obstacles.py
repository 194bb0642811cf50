"""What keeps the program from starting, as a sentence that says what to do."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


def at_port(error: OSError) -> str:
    """Why a port can't be listened on."""
    match error.errno:
        case errno.EADDRINUSE:
            return "the port is in use, perhaps by another simulator; end that, or name another port (0: any free one)"
        case errno.EACCES:
            return "not permitted; name a port from 1024 on"
        case _:
            return error.strerror or str(error)


def at_path(error: OSError, path: Path) -> str:
    """Why a file, a socket or a link can't be made there; what has no number explains itself."""
    match error.errno:
        case None:
            return str(error)
        case errno.ENOENT | errno.ENOTDIR:
            return f"{path.parent} is no directory; make it, or name another path"
        case errno.EEXIST | errno.EADDRINUSE | errno.EISDIR:
            return f"{path} is something else; name another path"
        case errno.EACCES | errno.EPERM | errno.EROFS:
            return f"{path} may not be written; name another path"
        case _:
            return f"{path}: {error.strerror}"
