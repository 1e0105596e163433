"""What kubectl prints when something is refused → what was found, and what to do.

The words are those of kubectl 1.32 and 1.20; tests hold them, as they were printed.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from smtrain.plugin import ExitCode, SmtrainError, fail

ALREADY_EXISTS = re.compile(r"\(AlreadyExists\)")

_KUBECONFIG = (
    "Give kubectl the cluster: aws eks update-kubeconfig --name CLUSTER; kubectl config get-contexts lists what it has."
)
_CREDENTIALS = "Log in: aws sso login, or AWS_PROFILE=NAME; `aws eks get-token --cluster-name CLUSTER` must work."
_OPERATORS = {
    "HyperPodPyTorchJob": "Install HyperPod's operator: the EKS add-on amazon-sagemaker-hyperpod-training-operator.\n"
    "Or use the other one: backend.operator=kubeflow.",
    "PyTorchJob": "Install Kubeflow's training operator v1: the Helm chart of HyperPod's CLI has it.\n"
    "Or use HyperPod's: backend.operator=hyperpod.",
}


class _Told:
    """One kind of refusal: how to know it, what to say, what to do."""

    def __init__(self, pattern: str, what: str, fix: str, code: ExitCode = ExitCode.REMOTE_REFUSED) -> None:
        self.pattern = re.compile(pattern, re.IGNORECASE | re.DOTALL)
        self.what = what
        self.fix = fix
        self.code = code


_TOLD = (
    _Told(
        r'context was not found for specified context: (?P<name>\S+)|context "(?P<other>[^"]*)" does not exist',
        "kubectl has no context {name}.",
        _KUBECONFIG,
        ExitCode.MISSING_HERE,
    ),
    _Told(
        r"localhost:8080 was refused|no configuration has been provided|stat \S+: no such file"
        r"|current-context must exist",
        "kubectl knows no cluster.",
        _KUBECONFIG,
        ExitCode.MISSING_HERE,
    ),
    _Told(
        r"must be logged in to the server|\(Unauthorized\)|asked for the client to provide credentials",
        "The cluster does not know who you are: {line}",
        _CREDENTIALS,
        ExitCode.MISSING_HERE,
    ),
    _Told(
        r"getting credentials: (?P<name>.*)", "kubectl has no credentials: {name}", _CREDENTIALS, ExitCode.MISSING_HERE
    ),
    _Told(
        r'doesn\'t have a resource type "(?P<name>[^"]*)"|no matches for kind "(?P<other>[^"]*)"',
        "The cluster does not know jobs of this kind: {line}",
        "",
    ),
    _Told(
        r'namespaces "(?P<name>[^"]*)" not found',
        "The cluster has no namespace `{name}`.",
        "Correct backend.namespace; kubectl get namespaces lists them.",
    ),
    _Told(
        r"admission webhook \"(?P<name>[^\"]*)\" denied the request: (?P<other>.*)",
        "The cluster's own rules refuse the job ({name}): {other}",
        "Change what they name; for Kueue: kubectl get localqueues, and kubectl get workloadpriorityclasses.",
    ),
    _Told(
        r"exceeded quota: (?P<name>[^,]*)",
        "The namespace's quota is exhausted: {line}",
        "Ask for less, wait for other jobs, or have it raised: kubectl describe resourcequota.",
    ),
    _Told(
        r"\(Forbidden\)|is forbidden",
        "You may not do this: {line}",
        "Have a role that may create, get, list, patch and delete jobs and configmaps, and read pods and their logs.",
    ),
    _Told(
        r"server \S+ was refused|no such host|connection refused|i/o timeout|no route to host|handshake timeout"
        r"|context deadline exceeded",
        "The cluster cannot be reached: {line}",
        "See whether you are in its network, and whether it is there: aws eks describe-cluster --name CLUSTER.",
    ),
)


def refusal(errors: str, *, words: Sequence[str], context: str, namespace: str) -> SmtrainError:
    """Returns the error of a kubectl that failed.

    Args:
      errors: what it printed on stderr.
      words: of the command.
      context: that was asked for; "" is the current one.
      namespace: that was asked for; "" is the context's.
    """
    line = _line(errors)
    place = f" [{'/'.join(part for part in (context, namespace) if part)}]" if context or namespace else ""
    for told in _TOLD:
        found = told.pattern.search(errors)
        if found is None:
            continue
        named = [part.strip() for part in found.groups() if part]
        name, other = (*named, "", "")[:2] if len(named) != 1 else (named[0], named[0])
        what = told.what.format(name=name or f"`{context}`", other=_line(other), line=line)
        return RefusedError.of(what.rstrip(".") + f"{place}.", told.fix or _operator(errors), errors, told.code)
    what = f"kubectl {words[0]} was refused: {line or 'it said nothing'}{place}."
    return RefusedError.of(what, "Nothing was started." if words[0] in ("apply", "create") else "", errors)


class RefusedError(SmtrainError):
    """kubectl failed.

    Attributes:
      errors: what it printed on stderr.
    """

    errors: str = ""

    @classmethod
    def of(cls, what: str, fix: str, errors: str, code: ExitCode = ExitCode.REMOTE_REFUSED) -> RefusedError:
        """Returns the error with one problem."""
        made = cls(fail(what, fix, code=code).problems)
        made.errors = errors
        return made


def _operator(errors: str) -> str:
    for kind, fix in _OPERATORS.items():
        if kind.lower() in errors.lower():
            return fix
    return ""


def _line(errors: str) -> str:
    """Returns the lines in one, without what kubectl puts in front of errors, and without its library's log."""
    kept = [line.strip() for line in errors.splitlines() if line.strip() and not re.match(r"[EWI]\d{4} ", line)]
    text = "; ".join(dict.fromkeys(kept))
    return re.sub(r"^(?:error: |Error from server \(\w+\): )+", "", text)
