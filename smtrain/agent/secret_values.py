"""Fetches the values of secrets, for the workload's environment alone."""

from __future__ import annotations

import importlib
import json
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

from smtrain.agent import commands
from smtrain.agent.ending import AgentCode, AgentError

_TIME_S = 60


def fetch(references: Mapping[str, str], environment: Mapping[str, str]) -> dict[str, str]:
    """Returns the value of each secret.

    Args:
      references: variable → `secretsmanager:ID` or `secretsmanager:ID#KEY` (of a JSON object), `ssm:/NAME`, `env:NAME`.
      environment: of the agent.

    Raises:
      AgentError: one cannot be had; the error tells which, and no value.
    """
    return {name: _value(name, reference, environment) for name, reference in sorted(references.items())}


def _value(name: str, reference: str, environment: Mapping[str, str]) -> str:
    kind, _, place = reference.partition(":")
    try:
        match kind:
            case "env":
                return environment[place]
            case "secretsmanager":
                secret, sharp, key = place.partition("#")
                text = _ask("secretsmanager", "get_secret_value", {"SecretId": secret})["SecretString"]
                return _field(text, key) if sharp else text
            case "ssm":
                return _ask("ssm", "get_parameter", {"Name": place, "WithDecryption": True})["Value"]
            case _:
                reason = "no such kind of reference"
    except KeyError:
        reason = "there is no such variable here" if kind == "env" else "it has no such key"
    except _NotHadError as error:
        reason = str(error)
    raise AgentError(AgentCode.BAD_PLAN, f"secret {name} ({reference}) cannot be had: {reason}")


class _NotHadError(Exception):
    pass


def _field(text: str, key: str) -> str:
    try:
        found = json.loads(text)
    except ValueError:
        # Without its cause, whose text would show the secret.
        reason = "it is no JSON object, so it has no keys"
        raise _NotHadError(reason) from None
    if not isinstance(found, dict):
        reason = "it is no JSON object, so it has no keys"
        raise _NotHadError(reason)
    return str(found[key])


def _ask(service: str, operation: str, request: dict[str, str | bool]) -> dict[str, str]:
    """Returns the members of the answer, or of the parameter inside it."""
    try:
        boto3 = importlib.import_module("boto3")
    except ImportError:
        answer = _ask_cli(service, operation, request)
    else:
        try:
            answer = getattr(boto3.client(service), operation)(**request)
        except Exception as error:
            reason = f"{type(error).__name__}: {error}"
            raise _NotHadError(reason) from error
    found = answer.get("Parameter", answer)
    return {name: value for name, value in found.items() if isinstance(value, str)}


def _ask_cli(service: str, operation: str, request: dict[str, str | bool]) -> dict[str, dict[str, str]]:
    program = shutil.which("aws")
    if program is None:
        reason = "the image has neither boto3 nor the AWS CLI"
        raise _NotHadError(reason)
    words = (service, operation.replace("_", "-"), "--cli-input-json", json.dumps(request), "--output", "json")
    try:
        done = commands.run((str(Path(program)), *words), timeout_s=_TIME_S)
    except subprocess.TimeoutExpired:
        reason = f"the AWS CLI took longer than {_TIME_S} s"
        raise _NotHadError(reason) from None
    if done.code:
        raise _NotHadError(done.errors.strip())
    answer: dict[str, dict[str, str]] = json.loads(done.output)
    return answer
