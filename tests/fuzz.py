"""`python -m tests.fuzz`: damaged, torn and mixed-up replies of both protocols, by the million, from a seed.

Whatever comes down the line, there is an `UpsError`, or a reply whose check is right by the simulated UPS's own
arithmetic, which shares no code with ours; anything else ends the run with the seed and the bytes. A reply that is
right and yet not what was sent has slipped through the check itself, as a sum can't see two bytes change places; those
are counted.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import random
import resource
import sys
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NamedTuple

from hardware_sim.ups import frames
from hardware_sim.ups.device import UpsDevice
from hardware_sim.ups.frames import CheckMode
from hardware_sim.ups.responder import Responder
from hardware_sim.ups.rig import PROFILES
from hardware_sim.ups.sentr_responder import SentrResponder
from upsd.ups import bridge, gpser, sentr
from upsd.ups.errors import UpsError
from upsd.ups.frame import LONGEST_FRAME, Check
from upsd.ups.gpser_dialect import reading_from
from upsd.ups.sentr_dialect import reading_from as sentr_reading_from

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from hardware_sim.ups.profiles import Profile
    from upsd.ups.exchange import Collector, Exchange

MILLION: Final = 1_000_000
_HELD_AT_MOST: Final = max(LONGEST_FRAME, sentr.TEXT_BYTES)
_NOISE_BYTES: Final = 600


class Case(NamedTuple):
    """A question, the reply to it, and what is read from that; `proves` is the other side's check."""

    name: str
    exchange: Exchange
    reply: bytes
    read: Callable[[bytes], object]
    proves: Callable[[bytes], bool]


@dataclass
class Tally:
    """What came of the replies."""

    seed: int
    replies: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    unfinished: int = 0
    untouched: int = 0
    slipped: Counter[str] = field(default_factory=Counter)
    """Changed, and right by their check: by the kind of check."""
    grew_kib: int = 0
    """By how much the most memory that was ever used grew after the first tenth."""

    def add(self, other: Tally) -> None:
        """Count what another process has found."""
        self.replies += other.replies
        self.refused += other.refused
        self.unfinished += other.unfinished
        self.untouched += other.untouched
        self.slipped += other.slipped
        self.grew_kib = max(self.grew_kib, other.grew_kib)


class FoundError(Exception):
    """Something that must never happen, with all that is needed to see it again."""


def cases() -> tuple[Case, ...]:
    """Every question with the replies of every kind of UPS."""
    return tuple(case for profile in PROFILES.values() for case in _cases_of(profile))


def run(replies: int, seed: int) -> Tally:
    """So many replies.

    Raises:
        FoundError: something happened that must not.
    """
    chance, known, tally = random.Random(seed), cases(), Tally(seed)
    most_kib = 0
    for number in range(replies):
        case = chance.choice(known)
        pieces = list(_pieces(chance, _spoilt(chance, case, known)))
        try:
            _judge(case, pieces, tally)
        except Exception as error:
            raise FoundError(f"seed {seed}, reply {number}, to {case.name}: {_hex(pieces)}: {error!r}") from error
        if number == replies // 10:
            most_kib = _most_kib()
    tally.replies = replies
    tally.grew_kib = _most_kib() - most_kib
    return tally


def _judge(case: Case, pieces: list[bytes], tally: Tally) -> None:
    collector = case.exchange.collector()
    try:
        reply = _collected(collector, pieces)
        data = None if reply is None else case.exchange.proven(reply)
    except UpsError as error:
        tally.refused[error.fault.value] += 1
        return
    if reply is None or data is None:
        tally.unfinished += 1
        return
    if not case.proves(reply):
        raise AssertionError("a reply was taken whose check is wrong")
    if reply == case.reply:
        tally.untouched += 1
    else:
        tally.slipped[case.name.split()[0]] += 1
    try:
        case.read(data)
    except UpsError as error:
        tally.refused[error.fault.value] += 1


def _collected(collector: Collector, pieces: list[bytes]) -> bytes | None:
    for piece in pieces:
        reply = collector.feed(piece)
        if reply is not None:
            return reply
        if _held(collector) > _HELD_AT_MOST or collector.missing < 1:
            raise AssertionError(f"it holds {_held(collector)} bytes and lacks {collector.missing}")
    return None


def _held(collector: Collector) -> int:
    """How many bytes it keeps; either collector has one buffer."""
    return max(len(getattr(collector, name, b"")) for name in ("_frame", "_reply"))


def _cases_of(profile: Profile) -> Iterator[Case]:
    if profile.sentr is not None:
        yield from _sentr_cases(profile)
        return
    mode = profile.check_mode
    check = {CheckMode.SUM: Check.SUM, CheckMode.CRC: Check.CRC}[mode]
    commands: dict[gpser.Command, Callable[[bytes], object]] = {
        gpser.IDENTIFY: gpser.decode_identification,
        gpser.NOMINAL: gpser.decode_nominals,
        gpser.STATUS: lambda data: reading_from(gpser.decode_status(data), 0.0),
        gpser.EXTENDED: gpser.decode_extended,
        gpser.PEAKS: gpser.decode_peaks,
        gpser.shutdown(180): bytes,
        gpser.shutdown_and_restore(180, 60): bytes,
        gpser.CANCEL: bytes,
        gpser.BATTERY_TEST: bytes,
        gpser.PANEL_TEST: bytes,
    }
    for command, read in commands.items():
        exchange = command.exchange(check)
        sealed = CheckMode.SUM if command is gpser.IDENTIFY else mode
        reply = Responder(UpsDevice(profile, load_w=lambda: 120.0)).answer(exchange.request, 0.0)
        yield Case(f"{sealed.value} {command.code}", exchange, reply, read, _gpser_proof(command.code, sealed))


def _gpser_proof(command: str, mode: CheckMode) -> Callable[[bytes], bool]:
    def proves(frame: bytes) -> bool:
        body, data = frame[1:-5], frame[7:-5]
        return (
            frame[0] == frames.STX
            and frame[-1] == frames.ETX
            and frames.STX not in body
            and frames.ETX not in body
            and frame[1:5] == b'" ' + command.encode("ascii")
            and frames.number_of(frame[5:7]) == len(data)
            and frames.check_digits(body, mode) == frame[-5:-1]
        )

    return proves


def _sentr_cases(profile: Profile) -> Iterator[Case]:
    responder = SentrResponder(UpsDevice(profile, load_w=lambda: 120.0))
    for poll in (sentr.PRESENT, sentr.PREVIOUS_EVENT, sentr.PAST_EVENT):
        reply = responder.hear(poll, 0.0)
        yield Case(
            f"sentr {poll}",
            sentr.record_exchange(poll),
            reply,
            lambda record: sentr_reading_from(sentr.decode_record(record), 0.0),
            lambda record: (record[101] + 256 * record[102]) in {sum(record[:100]), sum(record[:101])},
        )


def _spoilt(chance: random.Random, case: Case, known: Sequence[Case]) -> bytes:
    """The reply after anything that a line, a bridge or another program can do to it."""
    reply = case.reply
    for _ in range(chance.choice((0, 1, 1, 1, 2, 2, 3, 6))):
        reply = chance.choice(_DAMAGES)(chance, reply, known)
    return reply


def _pieces(chance: random.Random, reply: bytes) -> Iterator[bytes]:
    """As it comes from a serial port in any pieces; or in USB reports, which may be damaged as well."""
    if chance.random() < 0.2:
        reports = bytearray(b"".join(_report(reply[start : start + 6]) for start in range(0, len(reply), 6)))
        if reports and chance.random() < 0.5:
            reports[chance.randrange(len(reports))] = chance.randrange(256)
        try:
            yield bridge.payload(bytes(reports))
        except UpsError:
            yield reply
        return
    start = 0
    while start < len(reply):
        length = chance.choice((1, 6, 7, 48, 500))
        yield reply[start : start + length]
        start += length


def _report(piece: bytes) -> bytes:
    return bytes((len(piece),)) + piece.ljust(bridge.REPORT_SIZE - 1, b"\0")


def _flip_a_bit(chance: random.Random, reply: bytes, _: Sequence[Case]) -> bytes:
    return _changed(chance, reply, lambda byte: byte ^ 1 << chance.randrange(8))


def _change_a_byte(chance: random.Random, reply: bytes, _: Sequence[Case]) -> bytes:
    return _changed(chance, reply, lambda _: chance.randrange(256))


def _change_a_digit(chance: random.Random, reply: bytes, _: Sequence[Case]) -> bytes:
    return _changed(chance, reply, lambda _: 0x30 + chance.randrange(16))


def _lose_bytes(chance: random.Random, reply: bytes, _: Sequence[Case]) -> bytes:
    start = chance.randrange(len(reply) + 1)
    return reply[:start] + reply[start + chance.choice((1, 1, 2, 6, 7)) :]


def _insert_bytes(chance: random.Random, reply: bytes, _: Sequence[Case]) -> bytes:
    start = chance.randrange(len(reply) + 1)
    return reply[:start] + chance.randbytes(chance.choice((1, 1, 2, 7))) + reply[start:]


def _repeat_bytes(chance: random.Random, reply: bytes, _: Sequence[Case]) -> bytes:
    start = chance.randrange(len(reply) + 1)
    return reply[:start] + reply[max(0, start - chance.choice((1, 6, 7, 60))) :]


def _swap_bytes(chance: random.Random, reply: bytes, _: Sequence[Case]) -> bytes:
    if len(reply) < 2:
        return reply
    swapped = bytearray(reply)
    first, second = chance.randrange(len(reply)), chance.randrange(len(reply))
    swapped[first], swapped[second] = swapped[second], swapped[first]
    return bytes(swapped)


def _break_off(chance: random.Random, reply: bytes, _: Sequence[Case]) -> bytes:
    return reply[: chance.randrange(len(reply) + 1)]


def _follow_another(chance: random.Random, reply: bytes, known: Sequence[Case]) -> bytes:
    return _break_off(chance, chance.choice(known).reply, known) + reply


def _become_another(chance: random.Random, reply: bytes, known: Sequence[Case]) -> bytes:
    start = chance.randrange(len(reply) + 1)
    return reply[:start] + chance.choice(known).reply[start:]


def _drown_in_noise(chance: random.Random, reply: bytes, _: Sequence[Case]) -> bytes:
    return chance.randbytes(chance.randrange(_NOISE_BYTES)) + reply


def _go_on_and_on(chance: random.Random, reply: bytes, _: Sequence[Case]) -> bytes:
    start = chance.randrange(len(reply) + 1)
    return reply[:start] + b"0" * chance.randrange(_NOISE_BYTES) + reply[start:]


_DAMAGES: Final = (
    _flip_a_bit,
    _flip_a_bit,
    _change_a_byte,
    _change_a_digit,
    _lose_bytes,
    _insert_bytes,
    _repeat_bytes,
    _swap_bytes,
    _break_off,
    _break_off,
    _follow_another,
    _become_another,
    _drown_in_noise,
    _go_on_and_on,
)


def _changed(chance: random.Random, reply: bytes, change: Callable[[int], int]) -> bytes:
    if not reply:
        return reply
    at = chance.randrange(len(reply))
    return reply[:at] + bytes((change(reply[at]),)) + reply[at + 1 :]


def _hex(pieces: Sequence[bytes]) -> str:
    return " | ".join(piece.hex(" ") for piece in pieces)


def _most_kib() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def _run_share(work: tuple[int, int]) -> Tally:
    return run(*work)


def main() -> int:
    """Run it, and say what came of it; 1 if something was found."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description="Damaged replies of a UPS.")
    parser.add_argument("--millions", type=float, default=10.0, help="how many (default 10)")
    parser.add_argument("--seed", type=int, default=random.randrange(MILLION), help="to see the same again")
    arguments = parser.parse_args()
    processes = os.cpu_count() or 1
    share = round(arguments.millions * MILLION / processes)
    total = Tally(arguments.seed)
    sys.stderr.write(f"{share * processes} replies in {processes} processes, seed {arguments.seed}\n")
    try:
        with multiprocessing.Pool(processes) as pool:
            for tally in pool.imap_unordered(_run_share, [(share, arguments.seed + turn) for turn in range(processes)]):
                total.add(tally)
    except FoundError as found:
        sys.stderr.write(f"found: {found}\n")
        return 1
    _report_tally(total)
    return 0


def _report_tally(total: Tally) -> None:
    lines = {
        "replies": total.replies,
        **{f"refused_{fault}": count for fault, count in total.refused.most_common()},
        "unfinished": total.unfinished,
        "unharmed": total.untouched,
        **{f"changed_within_the_{check}": count for check, count in total.slipped.most_common()},
        "memory_growth_kib": total.grew_kib,
    }
    sys.stdout.writelines(f"{name} {value}\n" for name, value in lines.items())


if __name__ == "__main__":
    sys.exit(main())
