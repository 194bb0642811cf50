"""The sixth step: every worker takes upsd's key for its power-off, by `upsctl enroll`; the NAS is got ready for it."""

from __future__ import annotations

import getpass
import shlex
from argparse import Namespace
from typing import TYPE_CHECKING, NamedTuple

from upsd.ctl import enroll, openssh
from upsd.ctl.openssh import OpenSshError
from upsd.ctl.parser import build_parser
from upsd.ctl.setup import questions
from upsd.ctl.setup.outcome import Outcome, State
from upsd.settings_problems import dotted

if TYPE_CHECKING:
    from upsd.ctl.setup.situation import Situation
    from upsd.settings import NasSettings, SshSettings, WorkerSettings

_NAS_PROGRAM = "/usr/local/bin/upsd-nas"


class _Consent(NamedTuple):
    """To which host key: the one with this fingerprint, or whatever is shown; neither: a person is asked."""

    fingerprint: str | None
    whatever: bool


def enrol(situation: Situation) -> Outcome:
    """Enrol each worker that does not take our key yet; one that can't be had does not stop the others."""
    settings = situation.checked
    missing = [worker for worker in settings.workers if not _takes_our_key(worker, settings.ssh)]
    if missing:
        # Under sudo, whoever called it is more likely to have a login there than root.
        default = situation.environment.get("SUDO_USER") or getpass.getuser()
        situation.interview.answer(questions.ADMINISTRATOR, default)
    failed = [worker.name for worker in missing if not _enrolled(situation, worker)]
    if settings.nas and settings.nas.host and not _takes_our_key(settings.nas, settings.ssh):
        _get_ready(situation, settings.nas, settings.nas.host)
    if failed:
        for name in failed:
            situation.left.append(f"{name} is not enrolled: mend what is said above, then `upsctl enroll {name}`")
        others = "; the others are" if len(failed) < len(settings.workers) else ""
        return Outcome(State.FAILED, f"not enrolled: {', '.join(failed)}{others}")
    if not settings.workers:
        return Outcome(State.LEFT_OUT, "there are no workers in the settings")
    if not missing:
        return Outcome(State.NOTHING_TO_DO, "every worker takes our key, and proves its right to power off")
    return Outcome(State.DONE, f"enrolled and proven: {', '.join(worker.name for worker in missing)}")


def _takes_our_key(machine: WorkerSettings | NasSettings, ssh: SshSettings) -> bool:
    """Whether the program there answers to our key, and says that it may power the machine off."""
    if not (ssh.key_file.exists() and ssh.known_hosts_file.exists()):
        return False
    try:
        openssh.prove("check", str(machine.host), machine.port, machine.user, ssh.key_file, ssh.known_hosts_file)
    except OpenSshError:
        return False
    return True


def _enrolled(situation: Situation, worker: WorkerSettings) -> bool:
    """Do what a person would by hand."""

    def answer(question: questions.Question, default: questions.Value = None) -> str | None:
        value = situation.interview.answer(question.about(worker.name), default, asks=False)
        return None if value is None else str(value)

    administrator = answer(questions.WORKER_ADMINISTRATOR, situation.interview.taken[questions.ADMINISTRATOR.key])
    identity = answer(questions.WORKER_IDENTITY)
    consent = _consent(situation, questions.WORKER_FINGERPRINT.about(worker.name), worker.host, worker.port)
    if consent is None:
        return False
    words = ["enroll", worker.name, "--config", str(situation.path), "--as", str(administrator)]
    words += ["--identity", identity] if identity else []
    words += ["--fingerprint", consent.fingerprint] if consent.fingerprint else []
    words += ["--yes"] if consent.whatever else []
    print(f"\n  upsctl {shlex.join(words)}", flush=True)
    return enroll.run(build_parser().parse_args(words)) == enroll.OK


def _consent(situation: Situation, question: questions.Question, host: str, port: int) -> _Consent | None:
    """What was said of the host key there; `None` if it is not pinned, and nobody can or did say anything."""
    interview = situation.interview
    fingerprint = interview.answer(question, asks=False)
    if fingerprint:
        return _Consent(str(fingerprint), whatever=False)
    if interview.attended or openssh.pinned(situation.checked.ssh.known_hosts_file, host, port):
        return _Consent(None, whatever=False)
    if interview.answer(questions.ACCEPT_NEW_HOST_KEYS, default=False):
        return _Consent(None, whatever=True)
    key = dotted(question.key)
    print(f"\n  {host}: nobody can compare its host key; answer {key}, or accept_new_host_keys = true")
    return None


def _get_ready(situation: Situation, nas: NasSettings, host: str) -> None:
    """Pin its host key; what its firmware must be told, only a person can tell it."""
    ssh = situation.checked.ssh
    consent = _consent(situation, questions.NAS_FINGERPRINT, host, nas.port)
    trouble = None
    try:
        openssh.make_key(ssh.key_file)
        if consent:
            options = Namespace(fingerprint=consent.fingerprint, yes=consent.whatever)
            enroll.trust(enroll.Place(host, nas.port, nas.user), ssh.known_hosts_file, options)
        line = f'restrict,command="{_NAS_PROGRAM}" {openssh.public_key(ssh.key_file)}'
        situation.left.append(
            f"on the NAS, install config/nas/upsd-nas as {_NAS_PROGRAM} (docs/storage.md), and put this line into"
            f" .ssh/authorized_keys of {nas.user}:\n      {line}"
        )
    except OpenSshError as error:
        trouble = str(error)
    if trouble or not consent:
        situation.left.append(f"the host key of the NAS is not pinned: {trouble or 'nobody has compared it'}")
