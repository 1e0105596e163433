"""The only way to a cluster: `kubectl`, whose failures are problems that say what to do."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import IO, cast

from smtrain.plugin import ExitCode, Json, fail
from smtrain_hyperpod.eks import refusals
from smtrain_hyperpod.eks.submission import Submission

PROGRAM = "kubectl"
TIME_S = 120


@dataclass(frozen=True, slots=True, kw_only=True)
class Kubectl:
    """A cluster's namespace, as kubectl reaches it.

    Attributes:
      context: of kubectl's configuration; "" is the current one.
      namespace: "" is the context's.
    """

    context: str = ""
    namespace: str = ""

    def run(self, *words: str, text: str | None = None) -> str:
        """Runs kubectl; returns what it printed.

        Args:
          words: of the command.
          text: its standard input.

        Raises:
          SmtrainError: there is no kubectl, or the cluster refused, or cannot be reached.
        """
        command = self.command(*words)
        try:
            done = subprocess.run(command, input=text, capture_output=True, text=True, timeout=TIME_S, check=False)
        except FileNotFoundError as error:
            raise _absent() from error
        except subprocess.TimeoutExpired as error:
            what = f"kubectl did not answer within {TIME_S} s: {' '.join(words)}."
            fix = "See whether the cluster can be reached from here: kubectl get namespaces."
            raise fail(what, fix, code=ExitCode.REMOTE_REFUSED) from error
        if done.returncode:
            raise refusals.refusal(done.stderr, words=words, context=self.context, namespace=self.namespace)
        return done.stdout

    def get(self, *words: str) -> dict[str, Json] | None:
        """Returns what `kubectl get` finds; None when there is no such object. Raises as `run` does."""
        found = self.run("get", *words, "--ignore-not-found", "--output=json")
        return cast("dict[str, Json]", json.loads(found)) if found.strip() else None

    def items(self, *words: str) -> list[dict[str, Json]]:
        """Returns the objects of a list. Raises as `run` does."""
        found = (self.get(*words) or {}).get("items")
        return [item for item in found if isinstance(item, dict)] if isinstance(found, list) else []

    def apply(self, *documents: Mapping[str, Json], manager: str = "smtrain") -> None:
        """Makes objects, or changes them to what is said here. Raises as `run` does.

        Args:
          documents: objects, of which only what is said counts.
          manager: whose words these are, for the cluster.
        """
        whole = json.dumps({"apiVersion": "v1", "kind": "List", "items": list(documents)})
        self.run("apply", "--server-side", "--force-conflicts", f"--field-manager={manager}", "-f", "-", text=whole)

    def stream(self, *words: str) -> subprocess.Popen[str]:
        """Starts kubectl, whose lines come as they are printed.

        Raises:
          SmtrainError: there is no kubectl.
        """
        try:
            return subprocess.Popen(
                self.command(*words),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                encoding="utf-8",
                errors="replace",
            )
        except FileNotFoundError as error:
            raise _absent() from error

    def command(self, *words: str) -> Sequence[str]:
        """Returns the words of a command."""
        where = [f"--context={self.context}"] if self.context else []
        where += [f"--namespace={self.namespace}"] if self.namespace else []
        return (PROGRAM, *where, *words)


def of(submission: Submission) -> Kubectl:
    """Returns the cluster that a job is in."""
    return Kubectl(context=submission.context, namespace=submission.namespace)


def lines(pipe: IO[str] | None) -> IO[str]:
    """Returns the lines of a stream."""
    assert pipe is not None
    return pipe


def _absent() -> Exception:
    what = f"There is no program `{PROGRAM}` on this machine."
    fix = (
        "Install it (kubernetes.io/docs/tasks/tools) and give it the cluster: aws eks update-kubeconfig --name CLUSTER."
    )
    return fail(what, fix, code=ExitCode.MISSING_HERE)
