"""`python -m upsd`: the daemon."""

import sys

# structlog takes rich wherever it is installed; its coloured tracebacks are not worth 4 MiB of a daemon.
sys.modules["rich"] = None  # type: ignore[assignment]

from upsd.daemon import main  # noqa: E402

if __name__ == "__main__":
    main()
