"""What kubectl prints when it is refused becomes one problem, with what to do.

The words are those that kubectl 1.32 printed, of a kube-apiserver 1.20.2.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from smtrain_hyperpod.eks import kubectl, refusals

from smtrain.errors import ExitCode, SmtrainError

NO_CONTEXT = "Error in configuration: context was not found for specified context: nowhere\n"
NO_CONFIGURATION = "The connection to the server localhost:8080 was refused - did you specify the right host or port?\n"
NO_CURRENT_CONTEXT = "error: current-context must exist in order to minify\n"
UNREACHABLE = (
    'E1129 02:53:26.282466   10433 memcache.go:265] "Unhandled Error" err="couldn\'t get current server API group list:'
    ' Get \\"http://127.0.0.1:1/api?timeout=32s\\": dial tcp 127.0.0.1:1: connect: connection refused"\n'
    "The connection to the server 127.0.0.1:1 was refused - did you specify the right host or port?\n"
)
UNAUTHORIZED = "error: You must be logged in to the server (Unauthorized)\n"
FORBIDDEN = (
    'Error from server (Forbidden): error when creating "STDIN": pytorchjobs.kubeflow.org is forbidden: User "joe"'
    ' cannot create resource "pytorchjobs" in API group "kubeflow.org" in the namespace "default"\n'
)
NO_NAMESPACE = 'Error from server (NotFound): error when creating "STDIN": namespaces "nowhere" not found\n'
NO_KIND = (
    'error: resource mapping not found for name: "x" namespace: "" from "STDIN": no matches for kind'
    ' "HyperPodPyTorchJob" in version "sagemaker.amazonaws.com/v1"\nensure CRDs are installed first\n'
)
NO_RESOURCE = 'error: the server doesn\'t have a resource type "pytorchjobs"\n'
INVALID = (
    'error: error validating "STDIN": error validating data: ValidationError(PyTorchJob.spec): unknown field'
    ' "unheardOf" in org.kubeflow.v1.PyTorchJob.spec; if you choose to ignore these errors, turn validation off with'
    " --validate=false\n"
)
TAKEN = 'Error from server (AlreadyExists): error when creating "STDIN": pytorchjobs.kubeflow.org "x" already exists\n'
# These two need controllers that the server did not have; the forms are those of Kubernetes' and Kueue's own messages.
QUOTA = (
    'Error from server (Forbidden): error when creating "STDIN": pytorchjobs.kubeflow.org "x" is forbidden: exceeded'
    " quota: team, requested: count/pytorchjobs.kubeflow.org=1, used: count/pytorchjobs.kubeflow.org=2, limited: 2\n"
)
WEBHOOK = (
    'Error from server (Forbidden): error when creating "STDIN": admission webhook "vpytorchjob.kb.io" denied the'
    ' request: metadata.labels[kueue.x-k8s.io/queue-name]: Invalid value: "A_b"\n'
)


@pytest.mark.parametrize(
    ("printed", "told", "fix", "code"),
    [
        (NO_CONTEXT, "kubectl has no context nowhere", "update-kubeconfig", ExitCode.MISSING_HERE),
        (NO_CONFIGURATION, "kubectl knows no cluster", "update-kubeconfig", ExitCode.MISSING_HERE),
        (NO_CURRENT_CONTEXT, "kubectl knows no cluster", "update-kubeconfig", ExitCode.MISSING_HERE),
        (UNAUTHORIZED, "does not know who you are", "aws sso login", ExitCode.MISSING_HERE),
        (FORBIDDEN, 'User "joe" cannot create resource "pytorchjobs"', "Have a role", ExitCode.REMOTE_REFUSED),
        (NO_NAMESPACE, "no namespace `nowhere`", "backend.namespace", ExitCode.REMOTE_REFUSED),
        (NO_KIND, 'no matches for kind "HyperPodPyTorchJob"', "EKS add-on", ExitCode.REMOTE_REFUSED),
        (NO_RESOURCE, "does not know jobs of this kind", "training operator v1", ExitCode.REMOTE_REFUSED),
        (INVALID, 'unknown field "unheardOf"', "Nothing was started", ExitCode.REMOTE_REFUSED),
        (QUOTA, "quota is exhausted", "describe resourcequota", ExitCode.REMOTE_REFUSED),
        (WEBHOOK, "vpytorchjob.kb.io", "localqueues", ExitCode.REMOTE_REFUSED),
        (UNREACHABLE, "The connection to the server 127.0.0.1:1 was refused", "network", ExitCode.REMOTE_REFUSED),
    ],
)
def test_a_refusal_says_what_to_do(printed: str, told: str, fix: str, code: ExitCode) -> None:
    error = refusals.refusal(printed, words=("create", "-f", "-"), context="", namespace="")
    (problem,) = error.problems
    assert told in problem.what
    assert "memcache.go" not in problem.what
    assert fix in problem.fix
    assert problem.code is code


def test_a_name_that_is_taken_is_known_as_such() -> None:
    assert refusals.ALREADY_EXISTS.search(TAKEN)
    assert not refusals.ALREADY_EXISTS.search(FORBIDDEN)


def test_a_refusal_that_is_not_known_is_told_in_kubectls_words() -> None:
    error = refusals.refusal("error: something new\n", words=("apply",), context="east", namespace="team")
    (problem,) = error.problems
    assert "something new" in problem.what
    assert "east/team" in problem.what
    assert "Nothing was started" in problem.fix


def test_without_kubectl_it_is_said_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SmtrainError) as raised:
        kubectl.Kubectl().run("get", "pods")
    (problem,) = raised.value.problems
    assert problem.code is ExitCode.MISSING_HERE
    assert "update-kubeconfig" in problem.fix


@pytest.mark.needs_program("kubectl")
def test_a_real_kubectl_without_a_cluster_is_understood(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "absent"))
    monkeypatch.setenv("HOME", str(tmp_path))
    for cluster, told in ((kubectl.Kubectl(context="nowhere"), "no context"), (kubectl.Kubectl(), "no cluster")):
        with pytest.raises(SmtrainError) as raised:
            cluster.run("get", "pods")
        assert told in raised.value.problems[0].what
