"""The only way to AWS: clients whose failures are problems with an exit code. boto3 is imported when one is used."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

from smtrain.errors import ExitCode, Problem, SmtrainError, fail
from smtrain.spec import Json

ATTEMPTS = 8
"""Tries of a call that is throttled or times out, with exponential backoff and jitter (boto3's mode "standard")."""

READ_TIMEOUT_S = 60
"""Seconds without a byte of an answer after which a call is tried again."""

_BAD_CREDENTIALS = frozenset(
    {
        *("ExpiredToken", "ExpiredTokenException", "TokenRefreshRequired", "InvalidToken"),
        *("InvalidClientTokenId", "UnrecognizedClientException", "InvalidAccessKeyId"),
        *("SignatureDoesNotMatch", "InvalidSignatureException"),
    }
)
_DENIED = frozenset({"AccessDenied", "AccessDeniedException", "403"})
_QUOTA = frozenset({"ResourceLimitExceeded", "ServiceQuotaExceededException"})
_ELSEWHERE = frozenset({"PermanentRedirect", "301"})
_CREDENTIALS = "Give credentials: `aws configure`, `aws sso login`, or AWS_PROFILE=NAME."


class RefusedError(SmtrainError):
    """AWS refused a call.

    Attributes:
      error_code: as the API spells it, e.g. "ResourceInUse".
      message: in AWS's words.
      operation: what was called, as the API spells it.
    """

    def __init__(self, problem: Problem, *, error_code: str, message: str, operation: str = "") -> None:
        """Keeps the problem, and what AWS said."""
        super().__init__([problem])
        self.error_code = error_code
        self.message = message
        self.operation = operation

    def __reduce__(self) -> tuple[Callable[..., RefusedError], tuple[object, ...]]:
        make = functools.partial(
            RefusedError, error_code=self.error_code, message=self.message, operation=self.operation
        )
        return make, (self.problems[0],)


class Client:
    """One service of AWS in one region."""

    def __init__(self, service: str, region: str = "") -> None:
        """Opens it; nothing is called yet.

        Args:
          service: as boto3 spells it.
          region: "" takes that of the environment or the profile.

        Raises:
          SmtrainError: boto3 is not installed, or there is no region.
        """
        self.service = service
        with _explained(service, ""):
            self._boto = _session().client(service, region_name=region or None, config=_config())

    @property
    def region(self) -> str:
        """The region that it calls."""
        return str(self._boto.meta.region_name)

    def call(self, operation: str, **request: object) -> dict[str, Json]:
        """Calls an operation, e.g. "DescribeTrainingJob", and returns its answer.

        Raises:
          RefusedError: AWS said no.
          SmtrainError: there are no credentials, or the service cannot be reached.
        """
        from botocore import xform_name

        with _explained(self.service, operation):
            return cast("dict[str, Json]", getattr(self._boto, xform_name(operation))(**request))

    def pages(self, operation: str, **request: object) -> Iterator[dict[str, Json]]:
        """Yields the answers to an operation that comes in pages; raises as `call` does."""
        from botocore import xform_name

        with _explained(self.service, operation):
            yield from self._boto.get_paginator(xform_name(operation)).paginate(**request)

    def download(self, bucket: str, key: str, path: Path) -> None:
        """Writes an S3 object to a file, in parallel parts where it is large; raises as `call` does."""
        with _explained(self.service, "GetObject"):
            self._boto.download_file(bucket, key, str(path))


@functools.cache
def _session() -> Any:  # noqa: ANN401  # boto3 has no types
    import boto3

    return boto3.session.Session()


def _config() -> Any:  # noqa: ANN401  # as above
    from botocore.config import Config

    return Config(
        retries={"mode": "standard", "total_max_attempts": ATTEMPTS},
        connect_timeout=10,
        read_timeout=READ_TIMEOUT_S,
        max_pool_connections=32,
        user_agent_extra="smtrain",
    )


class _explained:  # noqa: N801  # used as a function is
    """Turns what boto3 raises into problems."""

    def __init__(self, service: str, operation: str) -> None:
        self._service, self._operation = service, operation

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> None:
        if error is None or isinstance(error, SmtrainError):
            return
        if isinstance(error, ModuleNotFoundError) and (error.name or "").startswith(("boto3", "botocore")):
            what = "boto3 is not installed, without which nothing can be asked of AWS."
            raise fail(what, "Install it: pip install 'smtrain[aws]'", code=ExitCode.MISSING_HERE) from error
        explained = _explain(self._service, self._operation, error)
        if explained is not None:
            raise explained from error


def _explain(service: str, operation: str, error: BaseException) -> SmtrainError | None:
    from botocore import exceptions

    call = f"{service}:{operation}" if operation else service
    if isinstance(error, exceptions.ClientError):
        return _refused(call, operation, error)
    if isinstance(error, exceptions.NoRegionError):
        return fail(
            f"{call}: there is no region.",
            "Say the region in the configuration, or set AWS_REGION.",
            code=ExitCode.MISSING_HERE,
        )
    missing = (
        exceptions.NoCredentialsError,
        exceptions.PartialCredentialsError,
        exceptions.CredentialRetrievalError,
        exceptions.ProfileNotFound,
        exceptions.SSOError,
        exceptions.TokenRetrievalError,
    )
    if isinstance(error, missing):
        return fail(f"{call}: {_sentence(str(error))}", _CREDENTIALS, code=ExitCode.MISSING_HERE)
    if isinstance(error, exceptions.ParamValidationError):
        return fail(f"{call}: {_sentence(str(error))}")
    if isinstance(error, exceptions.BotoCoreError):
        fix = "Check the network, the region and AWS_ENDPOINT_URL; what was done so far is not done again."
        return fail(f"{call}: {_sentence(str(error))}", fix, code=ExitCode.REMOTE_REFUSED)
    return None


def _refused(call: str, operation: str, error: BaseException) -> RefusedError:
    answer = cast("dict[str, Any]", getattr(error, "response", {}))
    code = str(answer.get("Error", {}).get("Code", ""))
    message = str(answer.get("Error", {}).get("Message", ""))
    fix, exit_code = "", ExitCode.REMOTE_REFUSED
    if code in _BAD_CREDENTIALS:
        fix, exit_code = _CREDENTIALS, ExitCode.MISSING_HERE
    elif code in _DENIED:
        fix = f"Allow {call} to whoever runs smtrain, or choose another profile: AWS_PROFILE=NAME."
    elif code in _QUOTA:
        fix = (
            "Ask for more in the AWS console, Service Quotas, or choose another compute.instance_type.\n"
            "`smtrain doctor` with the same overrides shows what the account allows."
        )
    elif code in _ELSEWHERE:
        region = answer.get("ResponseMetadata", {}).get("HTTPHeaders", {}).get("x-amz-bucket-region", "another region")
        fix = f"The bucket is in {region}: run there, or name a bucket of the region that the job runs in."
    problem = Problem(key="", what=f"{call} was refused: {code}: {_sentence(message)}", fix=fix, code=exit_code)
    return RefusedError(problem, error_code=code, message=message, operation=operation)


def _sentence(text: str) -> str:
    return text.strip().rstrip(".") + "."
