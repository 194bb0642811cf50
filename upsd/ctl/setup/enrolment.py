"""The sixth step: every worker takes upsd's key for its power-off, by `upsctl enroll`."""

from __future__ import annotations

import getpass
from typing import TYPE_CHECKING

from upsd.ctl import enroll, openssh
from upsd.ctl.openssh import OpenSshError
from upsd.ctl.parser import build_parser
from upsd.ctl.setup import questions
from upsd.ctl.setup.outcome import Outcome, State
from upsd.settings_problems import dotted

if TYPE_CHECKING:
    from upsd.ctl.setup.situation import Situation
    from upsd.settings import NasSettings, SshSettings, WorkerSettings


def enrol(situation: Situation) -> Outcome:
    """Enrol each worker that does not take our key yet; one that can't be had does not stop the others."""
    settings = situation.checked
    if not settings.workers:
        return Outcome(State.LEFT_OUT, "there are no workers in the settings")
    missing = [worker for worker in settings.workers if not _takes_our_key(worker, settings.ssh)]
    if missing:
        _ask_for_the_administrator(situation)
    failed = [worker.name for worker in missing if not _enrolled(situation, worker)]
    if settings.nas and settings.nas.host:
        _look_at_the_nas(situation, settings.nas, settings.ssh)
    if failed:
        for name in failed:
            situation.left.append(f"{name} is not enrolled: mend what is said above, then `upsctl enroll {name}`")
        return Outcome(State.FAILED, f"not enrolled: {', '.join(failed)}; the others are")
    if not missing:
        return Outcome(State.NOTHING_TO_DO, "every worker takes our key, and proves its right to power off")
    return Outcome(State.DONE, f"enrolled and proven: {', '.join(worker.name for worker in missing)}")


def _takes_our_key(worker: WorkerSettings, ssh: SshSettings) -> bool:
    """Whether the helper there answers to our key, and says that it may power the machine off."""
    if not (ssh.key_file.exists() and ssh.known_hosts_file.exists()):
        return False
    try:
        openssh.prove("check", worker.host, worker.port, worker.user, ssh.key_file, ssh.known_hosts_file)
    except OpenSshError:
        return False
    return True


def _ask_for_the_administrator(situation: Situation) -> None:
    # Under sudo, whoever called it is more likely to have a login there than root.
    situation.interview.answer(questions.ADMINISTRATOR, situation.environment.get("SUDO_USER") or getpass.getuser())


def _enrolled(situation: Situation, worker: WorkerSettings) -> bool:
    """Do what a person would by hand."""
    interview, ssh = situation.interview, situation.checked.ssh

    def answer(question: questions.Question, default: questions.Value = None) -> str | None:
        value = interview.answer(question.about(worker.name), default, asks=False)
        return None if value is None else str(value)

    administrator = answer(questions.WORKER_ADMINISTRATOR, interview.taken[questions.ADMINISTRATOR.key])
    identity, fingerprint = answer(questions.WORKER_IDENTITY), answer(questions.WORKER_FINGERPRINT)
    words = ["enroll", worker.name, "--config", str(situation.path), "--as", str(administrator)]
    words += ["--identity", identity] if identity else []
    if fingerprint:
        words += ["--fingerprint", fingerprint]
    elif not interview.attended:
        if interview.answer(questions.ACCEPT_NEW_HOST_KEYS, default=False):
            words.append("--yes")
        elif not openssh.pinned(ssh.known_hosts_file, worker.host, worker.port):
            key = dotted(questions.WORKER_FINGERPRINT.about(worker.name).key)
            print(f"\n  {worker.name}: nobody can compare its host key; give {key}, or accept_new_host_keys = true")
            return False
    print(f"\n  upsctl {' '.join(words)}", flush=True)
    return enroll.run(build_parser().parse_args(words)) == enroll.OK


def _look_at_the_nas(situation: Situation, nas: NasSettings, ssh: SshSettings) -> None:
    """Its firmware keeps no installation of ours: a person has to put the key there."""
    try:
        openssh.prove(
            nas.rehearse_command or "check", str(nas.host), nas.port, nas.user, ssh.key_file, ssh.known_hosts_file
        )
    except OpenSshError as error:
        situation.left.append(
            f"the NAS does not take upsd's key yet ({error}): put {ssh.key_file}.pub there and its host key into"
            f" {ssh.known_hosts_file}, as docs/storage.md says"
        )
