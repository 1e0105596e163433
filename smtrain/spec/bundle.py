"""`Bundle`: what to send, in bytes, and what to do with it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from smtrain.errors import Problem
from smtrain.spec.job import LocalFile
from smtrain.spec.program import Progress
from smtrain.spec.receipt import State

RUN_ID = "{smtrain.run_id}"
"""Stands for the run's id in a bundle's files and actions until the id, a digest of all of them, is known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BundleFile:
    """One file of a bundle: its relative path and its content, as bytes or as a local file to be taken in."""

    path: str
    content: bytes | LocalFile
    executable: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Exec:
    """Run a command on this machine, in the bundle's directory.

    Attributes:
      argv: plain words.
      workload: True when the command is the training itself, which is then followed, logged and stoppable; False when
        it only hands the job over.
    """

    argv: tuple[str, ...]
    workload: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Expect:
    """Look whether there is something at every URI, before anything is sent or made.

    Attributes:
      uris: s3:// URIs, each of an object or of a prefix.
      region: of the buckets; "" takes the account's default.
    """

    uris: tuple[str, ...]
    region: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Upload:
    """Put files of the bundle into S3, those that are not there yet.

    Attributes:
      uri: s3:// URI ending in "/", named by the files' content, so that what lies there is known to be the same.
      files: (path in the bundle, key below the URI).
      region: of the bucket; "" takes the account's default.
      kms_key: key that encrypts them; "" leaves it to the bucket.
    """

    uri: str
    files: tuple[tuple[str, str], ...]
    region: str = ""
    kms_key: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """How to see what became of what an API call made.

    Attributes:
      operation: takes the name, e.g. "DescribeTrainingJob".
      status: member of its answer that tells the state.
      states: value of that member → state of the run.
    """

    operation: str
    status: str
    states: Mapping[str, State]


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiCall:
    """Make something by an API of AWS, once: a name that is taken means that an earlier try succeeded.

    Attributes:
      service: as boto3 spells it, e.g. "sagemaker".
      operation: as the API spells it, e.g. "CreateTrainingJob".
      request: path in the bundle of the request, as JSON.
      name: member of the request that names what is made.
      taken: error code that says that the name is in use.
      probe: how to see what became of it.
      region: of the service.
    """

    service: str
    operation: str
    request: str
    name: str
    taken: str
    probe: Probe
    region: str


@dataclass(frozen=True, slots=True, kw_only=True)
class HandOver:
    """Let the bundle's backend give the job to its target, once: a job that is there from an earlier try counts.

    Attributes:
      document: path in the bundle of the JSON document that tells the backend where and how.
      summary: what is done, in one line.
      together: whether the runs of a sweep are given to the target in one go.
    """

    document: str
    summary: str
    together: bool = False


Action = Exec | Expect | Upload | ApiCall | HandOver


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What a run costs while it goes.

    Attributes:
      usd_per_hour: of all its nodes, on demand.
      max_hours: after which the target ends it; None when it does not.
      basis: where the figure is from, with its date.
    """

    usd_per_hour: float
    max_hours: float | None
    basis: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Bundle:
    """What to send, in bytes, and what to do with it, in order.

    Attributes:
      name: the run's name.
      backend: name of the backend that made it.
      trainer: name of the trainer whose program it carries.
      files: every file, at a path relative to the bundle.
      actions: what submitting does, in order.
      progress: where the running program reports its progress, for whoever follows it.
      cost: what it costs; None when it costs nothing, or nobody knows.
      facts: what the plan says of this target: (title, text).
      warnings: doubts found on the way.
    """

    name: str
    backend: str
    trainer: str
    files: tuple[BundleFile, ...]
    actions: tuple[Action, ...]
    progress: Progress | None = None
    cost: Cost | None = None
    facts: tuple[tuple[str, str], ...] = ()
    warnings: tuple[Problem, ...] = ()
