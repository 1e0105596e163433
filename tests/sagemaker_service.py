"""A SageMaker endpoint on loopback that really executes training jobs; everything else of AWS is moto's.

moto 5.2.5 keeps training jobs as records: they are complete at once, and hardly anything is refused. Here requests are
checked as strictly as the model allows, and a job runs, on the rehearsal engine, with S3 channels, CloudWatch logs,
metrics, checkpoints and artifacts.
"""

from __future__ import annotations

import io
import json
import math
import os
import re
import socket
import sys
import threading
from pathlib import Path

from sagemaker_jobs import LOG_GROUP, REGION, Job, Objects, Surroundings
from sagemaker_model import INVALID, ApiError, check, check_training_job
from smtrain_trainingjob.rehearsal.engine import best_isolation

IN_USE = "ResourceInUse"


class SageMakerService:
    """The service; a context manager, or `start` and `close`.

    Args:
      folder: where jobs have their private files.
      s3_endpoint: another S3 than moto's own, which is slow and keeps everything in memory.
      grace_s: seconds between SIGTERM and SIGKILL; 120 on SageMaker.
      job_environment: what the image's environment has beside PATH, HOME and access to this endpoint.
      isolation: how hosts are kept apart; None takes the best that there is.
      sync_every_s: seconds between two looks for new checkpoints.

    Attributes:
      jobs: by name.
      calls: (operation, request) of each call to SageMaker, refused ones too.
      role: ARN of a role that exists.
    """

    def __init__(
        self, folder, *, s3_endpoint=None, grace_s=20.0, job_environment=None, isolation=None, sync_every_s=0.5
    ):
        self.folder = Path(folder)
        self.jobs: dict[str, Job] = {}
        self.calls: list[tuple[str, dict]] = []
        self.role = ""
        self._s3_endpoint = s3_endpoint
        self._grace_s = grace_s
        self._job_environment = job_environment or {}
        self._around: Surroundings | None = None
        self._isolation = isolation or best_isolation()
        self._sync_every_s = sync_every_s
        self._lock = threading.RLock()
        self._faults: dict[str, list[ApiError]] = {}
        self._refusals: dict[str, ApiError] = {}
        self._dropped_creates = 0
        self._clients: dict[str, object] = {}

    # ------------------------------------------------------------------------------------------------ faults

    def create_accepts_but_times_out(self, times=1):
        """The next calls of CreateTrainingJob start their job, and then the connection breaks without an answer."""
        self._dropped_creates = times

    def throttle(self, operation, times):
        """The next calls of an operation are refused for being too many."""
        self._faults.setdefault(operation, []).extend([ApiError("ThrottlingException", "Rate exceeded")] * times)

    def refuse(self, operation, code, message="Refused by the test."):
        """An operation is refused from now on; `refuse(operation, None)` ends that."""
        if code is None:
            self._refusals.pop(operation, None)
        else:
            self._refusals[operation] = ApiError(code, message)

    # ----------------------------------------------------------------------------------------------- running

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.close()

    def start(self):
        from moto.moto_server.werkzeug_app import DomainDispatcherApplication, MotoRequestHandler, create_backend_app
        from werkzeug.serving import make_server

        self._moto = DomainDispatcherApplication(create_backend_app)
        self._server = make_server("127.0.0.1", 0, self._answer, threaded=True, request_handler=MotoRequestHandler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        _reset_moto()
        trust = {
            "Effect": "Allow",
            "Principal": {"Service": "sagemaker.amazonaws.com"},
            "Action": "sts:AssumeRole",
        }
        policy = json.dumps({"Version": "2012-10-17", "Statement": [trust]})
        role = self.client("iam").create_role(RoleName="smtrain", AssumeRolePolicyDocument=policy)
        self.role = role["Role"]["Arn"]
        self.client("logs").create_log_group(logGroupName=LOG_GROUP)
        self._around = self._surroundings()

    def _surroundings(self):
        home = self.folder / "home"
        home.mkdir(parents=True, exist_ok=True)
        return Surroundings(
            folder=self.folder,
            objects=Objects(self.client("s3")),
            logs=self.client("logs"),
            environment={
                "PATH": f"{Path(sys.executable).parent}:{os.environ.get('PATH', os.defpath)}",
                "HOME": str(home),
                "LANG": "C.UTF-8",
                **self.environment(),
                **self._job_environment,
            },
            isolation=self._isolation,
            grace_s=self._grace_s,
            sync_every_s=self._sync_every_s,
        )

    def close(self):
        """Ends every job at once, and the service."""
        for job in self.jobs.values():
            job.kill()
        for job in self.jobs.values():
            job.join(30)
        self._server.shutdown()
        self._server.server_close()
        _reset_moto()

    def environment(self):
        """What a client sets to talk to this service."""
        return {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_ENDPOINT_URL_S3": self._s3_endpoint or self.url,
            "AWS_ACCESS_KEY_ID": "testing",
            "AWS_SECRET_ACCESS_KEY": "testing",
            "AWS_DEFAULT_REGION": REGION,
            "AWS_REGION": REGION,
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    def client(self, service):
        """Returns a boto3 client of this endpoint, whatever the environment says; made once."""
        import boto3
        from botocore.config import Config

        with self._lock:
            if service not in self._clients:
                session = boto3.session.Session(
                    aws_access_key_id="testing", aws_secret_access_key="testing", region_name=REGION
                )
                endpoint = self._s3_endpoint if service == "s3" and self._s3_endpoint else self.url
                settings = Config(max_pool_connections=20, s3={"addressing_style": "path"})
                self._clients[service] = session.client(service, endpoint_url=endpoint, config=settings)
            return self._clients[service]

    def wait(self, name, *, timeout_s=120):
        """Returns DescribeTrainingJob of a job that has ended; how it fares meanwhile is in its log streams."""
        self.jobs[name].join(timeout_s)
        if self.jobs[name].ended is None:
            message = f"{name} is still {self.jobs[name].status} after {timeout_s} s"
            raise TimeoutError(message)
        return self.client("sagemaker").describe_training_job(TrainingJobName=name)

    def log(self, name):
        """Returns the lines of each host's stream, by host."""
        logs, found = self.client("logs"), {}
        for stream in logs.describe_log_streams(logGroupName=LOG_GROUP, logStreamNamePrefix=f"{name}/")["logStreams"]:
            pages = logs.get_paginator("filter_log_events").paginate(
                logGroupName=LOG_GROUP, logStreamNames=[stream["logStreamName"]]
            )
            host = stream["logStreamName"].partition("/")[2].rpartition("-")[0]
            found[host] = [event["message"] for page in pages for event in page["events"]]
        return found

    # ------------------------------------------------------------------------------------------------ answers

    def _answer(self, environ, start_response):
        service, _, operation = environ.get("HTTP_X_AMZ_TARGET", "").partition(".")
        handler = getattr(self, f"_{_snake(operation)}", None) if service == "SageMaker" else None
        if handler is None and operation not in self._faults and operation not in self._refusals:
            return self._moto(environ, start_response)
        body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        try:
            request = json.loads(body or b"{}")
            if service == "SageMaker":
                self.calls.append((operation, request))
            self._fail_as_told(operation)
            if handler is None:
                return self._moto({**environ, "wsgi.input": io.BytesIO(body)}, start_response)
            check(operation, request)
            answer, status, headers = handler(request), "200 OK", []
        except ApiError as error:
            answer = {"__type": error.code, "message": error.message}
            status, headers = "400 Bad Request", [("x-amzn-ErrorType", error.code)]
        except _NoAnswer:
            environ["werkzeug.socket"].shutdown(socket.SHUT_RDWR)
            answer, status, headers = {}, "200 OK", []
        content = json.dumps(answer or {}).encode()
        headers += [("Content-Type", "application/x-amz-json-1.1"), ("Content-Length", str(len(content)))]
        start_response(status, headers)
        return [content]

    def _fail_as_told(self, operation):
        with self._lock:
            if self._faults.get(operation):
                raise self._faults[operation].pop()
            if operation in self._refusals:
                raise self._refusals[operation]

    def _create_training_job(self, request):
        check_training_job(request)
        self._check_role(request["RoleArn"])
        self._check_objects(request)
        name = request["TrainingJobName"]
        with self._lock:
            if name in self.jobs:
                message = (
                    "Training job names must be unique within an AWS account and region, and a training job with this "
                    f"name already exists ({self.jobs[name].arn})"
                )
                raise ApiError(IN_USE, message)
            job = self.jobs[name] = Job(request, self._around)
            job.start()
            if self._dropped_creates:
                self._dropped_creates -= 1
                raise _NoAnswer
        return {"TrainingJobArn": job.arn}

    def _describe_training_job(self, request):
        with self._lock:
            return self._job(request).description()

    def _stop_training_job(self, request):
        job = self._job(request)
        if not job.stop():
            message = f"The request was rejected because the training job is in status {job.status}."
            raise ApiError(INVALID, message)
        return {}

    def _update_training_job(self, request):
        with self._lock:
            job = self._job(request)
            if job.ended is not None and "ResourceConfig" not in request:
                message = f"The request was rejected because the training job is in status {job.status}."
                raise ApiError(INVALID, message)
            for member in ("RemoteDebugConfig", "ProfilerConfig", "ResourceConfig"):
                if member in request:
                    job.request[member] = {**job.request.get(member, {}), **request[member]}
        return {"TrainingJobArn": job.arn}

    def _list_training_jobs(self, request):
        with self._lock:
            jobs = [job for job in self.jobs.values() if _matches(job, request)]
        key = {"Name": lambda job: job.name, "Status": lambda job: job.status}.get(
            request.get("SortBy"), lambda job: job.created
        )
        jobs.sort(key=key, reverse=request.get("SortOrder", "Descending") == "Descending")
        start, size = int(request.get("NextToken", "0")), request.get("MaxResults", 10)
        rest = {"NextToken": str(start + size)} if start + size < len(jobs) else {}
        return {"TrainingJobSummaries": [job.summary() for job in jobs[start : start + size]], **rest}

    def _list_tags(self, request):
        job = next((job for job in self.jobs.values() if job.arn == request["ResourceArn"]), None)
        if job is None:
            raise ApiError(INVALID, f"Could not find {request['ResourceArn']}.")
        return {"Tags": job.request.get("Tags", [])}

    # ------------------------------------------------------------------------------------------------- checks

    def _job(self, request):
        if request["TrainingJobName"] not in self.jobs:
            raise ApiError(INVALID, "Requested resource not found.")
        return self.jobs[request["TrainingJobName"]]

    def _check_role(self, arn):
        from botocore.exceptions import ClientError

        try:
            found = self.client("iam").get_role(RoleName=arn.rpartition("/")[2])["Role"]
        except ClientError:
            found = None
        if found is None or found["Arn"] != arn:
            message = (
                f"Could not assume role {arn}. Please ensure that the role exists and allows principal "
                "'sagemaker.amazonaws.com' to assume the role."
            )
            raise ApiError(INVALID, message)

    def _check_objects(self, request):
        for channel in request.get("InputDataConfig", []):
            source = channel["DataSource"].get("S3DataSource")
            if source is not None and not self._around.objects.keys(source["S3Uri"], most=1):
                raise ApiError(INVALID, self._around.objects.none_found(source["S3Uri"], request["RoleArn"]))


class _NoAnswer(Exception):  # noqa: N818 - not an error of ours
    """The connection breaks instead of an answer."""


def _matches(job, request):
    return (
        request.get("NameContains", "").lower() in job.name.lower()
        and request.get("StatusEquals", job.status) == job.status
        and request.get("CreationTimeAfter", -math.inf) <= job.created <= request.get("CreationTimeBefore", math.inf)
        and request.get("LastModifiedTimeAfter", -math.inf)
        <= job.changed
        <= request.get("LastModifiedTimeBefore", math.inf)
    )


def _snake(operation):
    return re.sub(r"(?<!^)(?=[A-Z])", "_", operation).lower()


def _reset_moto():
    """Forgets what earlier services of this process kept: moto's state belongs to the process."""
    from moto.backends import get_backend
    from moto.core.base_backend import BackendDict

    for name in ("s3", "iam", "logs", "sagemaker", "sts", "ecr", "secretsmanager", "ssm"):
        backends = get_backend(name)
        if isinstance(backends, BackendDict):
            for account in list(backends.values()):
                for backend in list(account.values()):
                    backend.reset()
