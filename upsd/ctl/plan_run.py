"""`upsctl shutdown` and `upsctl abort`: starts the plan or calls it off, and shows what happens until it is over."""

from __future__ import annotations

from upsd.ctl import client
from upsd.ctl.events import event_lines
from upsd.ctl.words import duration

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Iterator
    from typing import Any

    from upsd.ctl.events import Paint

OK, FAILED, INTERRUPTED = 0, 1, 130
OVER = "abort_finished"

_UNDONE = {
    None: "Everything is undone.",
    "workloads": "Everything is undone, but not as many pods are Ready as before; upsctl status names what is missing.",
}


def shutdown(options: Namespace, socket: str, paint: Paint) -> int:
    """Start the shutdown and follow it until this machine goes off; the exit status."""
    following = _Following(socket)
    needs = duration(client.act(socket, "shutdown", client.ANSWER_TIMEOUT_S, yes=options.yes)["expected_s"])
    try:
        print(f"The shutdown has begun and needs about {needs}. Until the first power-off it can be called off:")
        print("upsctl abort. Ctrl-C only ends the watching.", flush=True)
        following.show(paint)
    except KeyboardInterrupt:
        print("\nNo longer watched: the shutdown goes on. Look with upsctl status, call it off with upsctl abort.")
        return INTERRUPTED
    except client.NoDaemonError:
        if not following.going_off:
            raise
        print("upsd has ended, as this machine goes off.")
        return OK
    print("The shutdown was called off.")
    return FAILED


def abort(options: Namespace, socket: str, paint: Paint) -> int:
    """Call the shutdown off and follow its undoing to the end; the exit status."""
    following = _Following(socket)
    held_back = client.act(socket, "abort", client.ANSWER_TIMEOUT_S, force=options.force)["held_back"]
    try:
        print("Called off: what was done is being undone. Ctrl-C only ends the watching.", flush=True)
        if held_back:
            print(
                f"Held back until the mains is back: {', '.join(held_back)}. The latest safe start is not.", flush=True
            )
        not_done = following.show(paint)["not_done"]
    except KeyboardInterrupt:
        print("\nNo longer watched: the undoing goes on. Look with upsctl status.")
        return INTERRUPTED
    print(_UNDONE.get(not_done) or f"Not undone yet: {not_done}. upsd tries again.")
    return OK if not_done is None else FAILED


class _Following:
    """What the daemon shows, from before the command on, so that nothing of it is missed."""

    def __init__(self, socket: str) -> None:
        self._updates = client.follow(socket)
        next(self._updates)
        self.going_off = False
        """Whether the last step has begun."""
        self._last: dict[str, Any] = {}

    def show(self, paint: Paint) -> dict[str, Any]:
        """Print what happens until an abort has finished; the fields of that event."""
        for line in event_lines(self._until_over(), paint):
            print(line, flush=True)
        return self._last

    def _until_over(self) -> Iterator[dict[str, Any]]:
        for update in self._updates:
            yield update
            if update["topic"] != "event":
                continue
            name, self._last = update["document"]["event_type"], update["document"]["fields"]
            if name == "step_started" and self._last["step"].startswith("host-poweroff"):
                self.going_off = True
            if name == OVER:
                return
