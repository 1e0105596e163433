"""Secrets reach the command's environment, and nothing else."""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Callable, Iterator

import boto3
import pytest
from agent_runs import Target, plan, until
from s3_server import S3Server, needs, program

VALUE = "hf_TheSecretValue123"


@pytest.fixture(scope="module")
def services(s3_server: S3Server) -> Iterator[str]:
    """Endpoint of a Secrets Manager and a Parameter Store that hold some secrets."""
    needs("moto_server")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    endpoint = f"http://127.0.0.1:{port}"
    command = (str(program("moto_server")), "-H", "127.0.0.1", "-p", str(port))
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        until(lambda: _up(port), 60)
        session = boto3.Session("a", "b", region_name="us-east-1")
        secrets = session.client("secretsmanager", endpoint_url=endpoint)
        secrets.create_secret(Name="team/hf", SecretString=VALUE)
        secrets.create_secret(Name="team/json", SecretString=f'{{"token": "{VALUE}", "other": 1}}')
        session.client("ssm", endpoint_url=endpoint).put_parameter(Name="/team/hf", Value=VALUE, Type="SecureString")
        yield endpoint
    finally:
        server.kill()
        server.wait()


def _up(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


@pytest.mark.parametrize(
    "reference", ["secretsmanager:team/hf", "secretsmanager:team/json#token", "ssm:/team/hf", "env:GIVEN_ELSEWHERE"]
)
def test_the_command_gets_the_value_and_the_log_does_not(one: Target, services: str, reference: str) -> None:
    document = plan(secrets={"HF_TOKEN": reference})
    ended = one.run(document, 'printf "%s" "$HF_TOKEN" >got', AWS_ENDPOINT_URL=services, GIVEN_ELSEWHERE=VALUE)
    assert ended.code == 0, ended.log
    assert (one.node() / "got").read_text() == VALUE
    assert VALUE not in ended.log


def test_the_aws_cli_serves_where_there_is_no_boto3(one: Target, services: str) -> None:
    needs("aws")
    (one.node() / "no" / "boto3").mkdir(parents=True)
    (one.node() / "no" / "boto3" / "__init__.py").write_text("raise ImportError('not here')")
    for reference in ("secretsmanager:team/json#token", "ssm:/team/hf"):
        document = plan(secrets={"HF_TOKEN": reference})
        script = 'printf "%s" "$HF_TOKEN" >got'
        agent_alone = {"PYTHONPATH": str(one.node() / "no"), "AWS_ENDPOINT_URL": services}
        (one.node() / "aws").write_text(f'#!/bin/sh\nunset PYTHONPATH\nexec {program("aws")} "$@"\n')
        (one.node() / "aws").chmod(0o755)
        path = f"{one.node()}:{one.variables(0)['PATH']}"
        ended = one.run(document, script, **agent_alone, PATH=path)
        assert ended.code == 0, ended.log
        assert (one.node() / "got").read_text() == VALUE


@pytest.mark.parametrize(
    ("reference", "why"),
    [
        ("secretsmanager:team/absent", "ResourceNotFoundException"),
        ("secretsmanager:team/json#absent", "it has no such key"),
        ("secretsmanager:team/hf#key", "it is no JSON object"),
        ("ssm:/absent", "ParameterNotFound"),
        ("env:NOT_SET_ANYWHERE", "there is no such variable here"),
        ("vault:x", "no such kind of reference"),
    ],
)
def test_a_secret_that_cannot_be_had_is_named(one: Target, services: str, reference: str, why: str) -> None:
    ended = one.run(plan(secrets={"HF_TOKEN": reference}), "echo ran", AWS_ENDPOINT_URL=services)
    assert ended.code == 78
    assert ended.failure.startswith(f"secret HF_TOKEN ({reference}) cannot be had: ")
    assert why in ended.failure
    assert VALUE not in ended.log


def test_a_value_that_the_command_prints_is_not_in_the_failure_file(one: Target) -> None:
    document = plan(secrets={"HF_TOKEN": "env:GIVEN_ELSEWHERE"})
    script = 'echo "ValueError: bad token $HF_TOKEN"; echo "url https://user:$HF_TOKEN@host"; exit 1'
    ended = one.run(document, script, GIVEN_ELSEWHERE=VALUE)
    assert ended.code == 1
    assert "ValueError: bad token ***" in ended.failure
    assert VALUE not in ended.failure


def test_secrets_of_a_failed_node_are_hidden_on_the_others(targets: Callable[..., Target]) -> None:
    two = targets(nodes=2)
    document = plan(secrets={"HF_TOKEN": "env:GIVEN_ELSEWHERE"})
    script = '[[ $SMTRAIN_NODE_RANK == 0 ]] && sleep 60; echo "ValueError: $HF_TOKEN"; exit 1'
    for rank, value in enumerate(("another secret", VALUE)):
        two.start(document, script, rank, GIVEN_ELSEWHERE=value)
    for rank in (0, 1):
        ended = two.wait(rank)
        assert ended.code == 1
        assert VALUE not in ended.failure
