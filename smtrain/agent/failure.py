"""The reason of a failure, as short as the platform keeps it, most telling text first."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from smtrain.agent.ending import Failure

LIMIT = 1024
"""Characters of `FailureReason` that DescribeTrainingJob keeps (SageMaker API reference, 2025)."""
_HIDDEN = "***"
_SHORTEST_SECRET = 4  # characters; hiding shorter ones would hide half of the text

_WORKER = r"^(?:\[[^\]]*\]:?\s*)?"  # "[rank1]: " or "[default0]:", which torchrun puts before the lines of its workers
_EXCEPTION = re.compile(
    _WORKER + r"(?P<what>(?:[A-Za-z_]\w*\.)*[A-Z]\w*(?:Error|Exception|Interrupt|Failure|Timeout)\b(?::.*)?)$"
)
# How a program tells what its user can mend, without a traceback.
_MESSAGE = re.compile(_WORKER + r"error: (?P<what>\S.*)$")
# How torchrun tells of a worker that a signal ended; SIGTERM is its own, for those that are left.
_SIGNAL = re.compile(r"^traceback : (?P<what>Signal (?!15 )\d+ \(SIG[A-Z]+\) received by PID \d+)$")
# What a launcher says of its worker, which has said it better itself.
_WRAPPERS = re.compile(r"ChildFailedError|CalledProcessError|SignalException|ProcessExitedException")
# What a process says when it was another that failed.
_CONSEQUENCE = re.compile(
    r"connection (?:reset|closed|refused)|broken pipe|connectFullMesh|remote process exited|DistNetworkError"
    r"|DistStoreError|RendezvousConnectionError|timed? ?out|heartbeat|ncclRemoteError|socketPollConnect",
    re.IGNORECASE,
)


def exception_line(lines: Sequence[str]) -> str:
    """Returns the line that says what happened, "" when there is none.

    It is an exception, or else an error message, or else a signal that ended a worker; or else an exception that
    another process caused, or what a launcher says of its workers.
    """
    found = _matching(_EXCEPTION, lines)
    own = [line for line in found if not _WRAPPERS.search(line)]
    causes = [line for line in own if not _CONSEQUENCE.search(line)]
    return (causes or _matching(_MESSAGE, lines) or _matching(_SIGNAL, lines) or own or found or [""])[-1]


def _matching(pattern: re.Pattern[str], lines: Sequence[str]) -> list[str]:
    return [match["what"].strip() for line in lines if (match := pattern.match(line.strip()))]


def is_consequence(failure: Failure) -> bool:
    """Returns whether this looks like what follows from another node's failure."""
    return _CONSEQUENCE.search(failure.reason) is not None


def reason(code: int, step: str, lines: Sequence[str]) -> str:
    """Returns one line that says which step failed, how, and with what exception."""
    what = f"step {step} failed with exit code {code}" if step else f"the workload failed with exit code {code}"
    if code == _KILLED:
        what += " (killed, as the kernel does when memory runs out)"
    exception = exception_line(lines)
    return f"{what}: {exception}" if exception else what


_KILLED = 137
_LAST_LINES = 20


def last(lines: Sequence[str]) -> tuple[str, ...]:
    """Returns the lines that are worth telling beside the reason."""
    return tuple(line for line in lines if line.strip())[-_LAST_LINES:]


_ENDED = re.compile(r"(?:step \S+|the workload) failed with exit code \d+")


def text(failure: Failure, *, nodes: int) -> str:
    """Returns what goes into the failure file, at most `LIMIT` characters."""
    where = f" on {failure.host} (node {failure.node})" if nodes > 1 else ""
    # Behind the step and its code, before the exception, the place reads best.
    ended = _ENDED.match(failure.reason)
    head, rest = (ended[0], failure.reason[ended.end() :]) if ended else (failure.reason, "")
    whole = f"{head}{where}{rest}"
    # The last lines tell most, so it is the earlier ones that are left out.
    details: list[str] = []
    for line in reversed(failure.details):
        if len(whole) + sum(len(kept) + 1 for kept in (*details, line)) > LIMIT:
            break
        details.insert(0, line)
    return "\n".join((whole, *details))[:LIMIT]


def redacted(content: str, secrets: Iterable[str]) -> str:
    """Returns the text without the secrets in it."""
    for secret in sorted(set(secrets), key=len, reverse=True):
        if len(secret) >= _SHORTEST_SECRET:
            content = content.replace(secret, _HIDDEN)
    return content


def write(path: Path | None, content: str) -> None:
    """Writes the failure file; what cannot be written must not hide what happened."""
    if path is None:
        return
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding="utf-8", errors="replace")
    except OSError:
        return
