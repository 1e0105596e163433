"""Commands on a login node, and what is said when there is none."""

from __future__ import annotations

import fcntl
import os
import pty
import shutil
import stat
import subprocess
import sys
import termios
from pathlib import Path

import pytest
from login_nodes import known_hosts, node
from smtrain_hyperpod.transport.login_node import LoginNode
from smtrain_hyperpod.transport.reached import login_node
from ssh_server import SshServer

from smtrain.errors import ExitCode, SmtrainError

__all__ = ["known_hosts", "node"]

HOSTILE = (
    "@x",
    "@",
    "two words",
    "it's",
    'say "x"',
    "$(touch /tmp/x)",
    "`id`",
    "a\nb",
    "back\\",
    "",
    "*",
    "-n",
    "~",
    "é",
    "!!",
    ";&|",
)


def test_words_arrive_as_they_are(node: LoginNode) -> None:
    done = node.run(("printf", "%s|", *HOSTILE))
    assert done.code == 0
    assert done.stdout == "".join(f"{word}|" for word in HOSTILE)


@pytest.mark.parametrize("shell", ["fish", "zsh"])
def test_words_arrive_as_they_are_through_any_login_shell(known_hosts: SshServer, shell: str) -> None:
    del known_hosts
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed; `make test` installs it where it may")
    done = login_node(shell).run(("printf", "%s|", *HOSTILE))
    assert done.stdout == "".join(f"{word}|" for word in HOSTILE)


def test_what_a_command_reads_prints_and_ends_with_comes_back(node: LoginNode) -> None:
    done = node.run(("bash", "-c", "cat; echo bad >&2; exit 3"), stdin=b"text\n")
    assert (done.code, done.stdout, done.stderr) == (3, "text\n", "bad\n")


def test_an_exit_code_of_255_is_the_commands_own(node: LoginNode) -> None:
    assert node.run(("bash", "-c", "echo no such job >&2; exit 255")).code == 255


def test_a_program_that_is_not_there_is_named(node: LoginNode) -> None:
    with pytest.raises(SmtrainError, match="has no `sbatch-of-nobody`") as raised:
        node.run(("sbatch-of-nobody", "--version"))
    assert raised.value.exit_code is ExitCode.REMOTE_REFUSED


def test_a_command_that_takes_too_long_is_given_up(node: LoginNode) -> None:
    with pytest.raises(SmtrainError, match=r"took longer than 0.5 s"):
        node.run(("sleep", "30"), timeout_s=0.5)


def test_what_a_profile_prints_is_not_taken_for_the_answer(known_hosts: SshServer) -> None:
    del known_hosts
    assert login_node("noisy").run(("echo", "4711")).stdout == "4711\n"


def test_a_proxy_command_is_used_as_it_is(known_hosts: SshServer) -> None:
    del known_hosts
    assert login_node("proxied").run(("hostname",)).code == 0


def test_a_login_node_without_slurm_or_python_is_told_apart(known_hosts: SshServer, tmp_path: Path) -> None:
    del known_hosts
    bare = login_node("bare")
    with pytest.raises(SmtrainError, match=r"bare has no `sbatch`.\n  Is it a login node of Slurm?"):
        bare.run(("sbatch", "job.sbatch"))
    with pytest.raises(SmtrainError, match=r"bare has no `python3`.\n  Install Python 3 there"):
        bare.read({str(tmp_path / "log"): 0})


@pytest.mark.parametrize(
    ("host", "said"),
    [
        ("wants-password", "lets nobody in without asking for a password.*ssh-copy-id wants-password"),
        ("changed", "has another host key.*Offending ED25519 key in .*ssh changed"),
        ("unknown", "host key is not known to this machine.*ssh unknown"),
        ("off", r"the way there broke.*An error occurred .TargetNotConnected.\..*credentials still good"),
        ("down", "nothing listens there.*Connection refused"),
        ("nowhere.invalid", "there is no such host, neither in your ssh_config nor in DNS"),
    ],
)
def test_a_host_that_lets_nobody_in_is_an_error_with_its_reason(known_hosts: SshServer, host: str, said: str) -> None:
    del known_hosts
    with pytest.raises(SmtrainError, match=f"(?s)^{host} cannot be used: .*{said}") as raised:
        login_node(host).run(("true",), timeout_s=20)
    assert raised.value.exit_code is ExitCode.REMOTE_REFUSED
    with pytest.raises(SmtrainError, match=f"^{host} cannot be used"):
        login_node(host).read({"/etc/hosts": 0})


def test_nobody_at_a_terminal_is_asked_for_a_password(known_hosts: SshServer) -> None:
    source = "from smtrain_hyperpod.transport.reached import login_node; login_node('wants-password').run(('true',))"
    plugins = Path(__file__).parents[2] / "plugins"
    terminal, end = pty.openpty()
    child = subprocess.Popen(
        (sys.executable, "-c", source),
        env={**known_hosts.environment(), "PYTHONPATH": str(plugins)},
        stdin=end,
        stdout=end,
        stderr=subprocess.PIPE,
        start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(end, termios.TIOCSCTTY, 0),  # noqa: PLW1509  # ssh asks there, whatever stdin is
    )
    os.close(end)
    try:
        _, stderr = child.communicate(timeout=30)
    finally:
        child.kill()
        os.close(terminal)
    assert b"wants-password cannot be used: it lets nobody in without asking" in stderr


@pytest.mark.parametrize("host", ["", "-oProxyCommand=touch /tmp/x", "a b", "a\nb", "a;b", "$(id)", "-"])
def test_what_can_be_no_host_never_reaches_ssh(host: str) -> None:
    with pytest.raises(SmtrainError, match="is no name of a host") as raised:
        login_node(host, key="backend.login")
    assert raised.value.problems[0].key == "backend.login"


def test_a_damaged_ssh_config_is_told(known_hosts: SshServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    del known_hosts
    (tmp_path / "config").write_text("Host *\nBananas yes\n")
    wrapper = tmp_path / "ssh"
    wrapper.write_text(f'#!/bin/sh\nexec /usr/bin/ssh -F {tmp_path}/config "$@"\n')
    wrapper.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    with pytest.raises(SmtrainError, match=r"your ssh_config is not usable.\n.*bananas"):
        login_node("login")


def test_this_machine_without_an_ssh_client_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SmtrainError, match="There is no `ssh` on this machine") as raised:
        login_node("login")
    assert raised.value.exit_code is ExitCode.MISSING_HERE


def test_one_handshake_serves_several_commands(known_hosts: SshServer) -> None:
    node = login_node("login")
    node.run(("true",))
    log = known_hosts.folder / "sshd.log"
    before = log.read_text().count("Accepted publickey")
    for _ in range(3):
        node.run(("true",))
    assert log.read_text().count("Accepted publickey") == before
    folder = Path(f"/tmp/smtrain-ssh-{os.getuid()}")
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_what_the_users_ssh_config_says_counts(
    known_hosts: SshServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tmp_path / "config"
    lines = ("ConnectTimeout 7", "ControlPath none", f"ControlPath {tmp_path}/own-%C", "ServerAliveInterval 99")
    config.write_text("\n".join(("Host login", *lines, f"Include {known_hosts.folder}/ssh_config", "")))
    wrapper = tmp_path / "ssh"
    wrapper.write_text(f'#!/bin/sh\nexec /usr/bin/ssh -F {config} "$@"\n')
    wrapper.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    options = " ".join(login_node("login").way.options)  # type: ignore[attr-defined]
    assert "ConnectTimeout" not in options
    assert "ServerAliveInterval" not in options
