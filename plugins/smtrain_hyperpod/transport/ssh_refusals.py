"""Why ssh did not get to a host, in words that say what to do. What it prints was seen from OpenSSH 9.2."""

from __future__ import annotations

import re

from smtrain.plugin import ExitCode, SmtrainError, fail
from smtrain_hyperpod.transport.way import last_line

_AGAIN = "Try again: what was copied is kept."

# ssh itself saw nothing but that nobody is there any more. If a ProxyCommand said why, it stands first.
_VAGUE = r"kex_exchange_identification|UNKNOWN port 65535|Connection (?:closed|reset)"

# (what ssh prints, what that is, what to do): the first that is found counts.
_KNOWN = (
    (
        r"REMOTE HOST IDENTIFICATION HAS CHANGED(?s:.*)Offending .* key in ",
        "it has another host key than the one that this machine knows: it was made anew, or is another machine",
        "If it was made anew: remove the line that ssh names, then log in once by hand: ssh HOST",
    ),
    (
        r"Host key verification failed",
        "its host key is not known to this machine",
        "Log in once by hand, and compare the key that is shown: ssh HOST",
    ),
    (
        r"Could not resolve hostname",
        "there is no such host, neither in your ssh_config nor in DNS",
        "Look for its name in ~/.ssh/config, or write the entry.",
    ),
    (
        r"Permission denied \((?P<methods>[^)]*)\)",
        "it lets nobody in without asking for a password or a passphrase (it takes: {methods})",
        "smtrain types none. Put your key there: ssh-copy-id HOST. If the key has a passphrase: ssh-add",
    ),
    (
        r"Too many authentication failures",
        "it was offered too many keys",
        "Name the right one in your ssh_config: IdentityFile, with IdentitiesOnly yes.",
    ),
    (r"Connection refused", "nothing listens there", "Is it up, and is the port right?"),
    (
        r"[Tt]imed out|No route to host|Network is unreachable",
        "it does not answer",
        "Is it up, and reachable from this network?",
    ),
    (r"Bad configuration option|terminating, \d+ bad|Bad owner or permissions", "your ssh_config is not usable", ""),
    (
        _VAGUE,
        "the way there broke before anything was said",
        "Try it by hand: ssh HOST true. With a ProxyCommand over SSM: are your credentials still good?",
    ),
)

_BROKE = re.compile(
    r"client_loop: send disconnect|Connection to .* closed by remote host|Connection reset|Broken pipe|"
    r"Timeout, server .* not responding|mux_client_|Connection closed by|lost connection|"
    r"Connection to .* (?:closed|timed out)|Read from remote host"
)


def explained(host: str, code: int, stderr: str) -> SmtrainError:
    """Returns why no command was run on a host.

    Args:
      host: the host.
      code: ssh's exit code.
      stderr: what it printed.
    """
    for pattern, what, fix in _KNOWN:
        if found := re.search(pattern, stderr):
            told = f"{host} cannot be used: {what.format(**found.groupdict())}."
            said = f"ssh says: {_first_line(stderr) if pattern is _VAGUE else _quoted(stderr, found)}"
            advice = re.sub(r"\bHOST\b", host, fix)
            return fail(told, "\n".join(filter(None, (said, advice))), code=ExitCode.REMOTE_REFUSED)
    what = f"{host} cannot be used: ssh ended with {code}, saying: {last_line(stderr)}"
    return fail(what, f"Try it by hand: ssh {host} true", code=ExitCode.REMOTE_REFUSED)


def is_vague(stderr: str) -> bool:
    """Returns whether ssh tells no more than that the way to a host broke."""
    return re.search(_VAGUE, stderr) is not None


def broken(host: str, stderr: str) -> SmtrainError | None:
    """Returns that the connection to a host broke, if that is what ssh printed."""
    if stderr.strip() and not _BROKE.search(stderr):
        return None
    return fail(f"The connection to {host} broke: {last_line(stderr)}", _AGAIN, code=ExitCode.REMOTE_REFUSED)


def _quoted(text: str, found: re.Match[str]) -> str:
    """Returns the line in which what was found ends."""
    begin, end = text.rfind("\n", 0, found.end()) + 1, text.find("\n", found.end())
    return text[begin : end if end >= 0 else len(text)].strip()


def _first_line(text: str) -> str:
    return text.strip().partition("\n")[0].strip()
