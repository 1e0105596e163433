"""Giving a job to the cluster, once: its ConfigMaps first, then itself, which then owns them."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import cast

import yaml

from smtrain.plugin import Json, Observer, Receipt, SmtrainError, State, submissions
from smtrain_hyperpod.eks import kubectl, pod, refusals, submission
from smtrain_hyperpod.eks.following import conditions
from smtrain_hyperpod.eks.kubectl import Kubectl
from smtrain_hyperpod.eks.submission import Submission


def hand_over(run_dir: Path, document: Json, receipt: Receipt, *, observer: Observer) -> Receipt:
    """Gives a run's job to the cluster, unless it has it already, and returns the receipt.

    Args:
      run_dir: the run's folder.
      document: submission.json.
      receipt: so far.
      observer: is told what happens.

    Raises:
      SmtrainError: the cluster refused, or cannot be reached; submitting again is safe.
    """
    submitted = submission.parse(document)
    target = _Cluster(kubectl.of(submitted), submitted, run_dir / "bundle", receipt.run_id)
    return submissions.submit_once(receipt, target, observer=observer, longest_name=submitted.longest_name)


class _Cluster:
    """The cluster, as what takes jobs."""

    def __init__(self, cluster: Kubectl, submitted: Submission, bundle: Path, run_id: str) -> None:
        self._cluster = cluster
        self._submitted = submitted
        self._bundle = bundle
        self._run_id = run_id

    def find(self, name: str) -> submissions.Known | None:
        found = self._cluster.get(self._submitted.resource, name)
        return None if found is None else submissions.Known(job=name, state=conditions.state(found))

    def create(self, name: str) -> submissions.Known:
        maps, job = self._documents(name)
        # Words of its own for each job, so that those of another one about a shared ConfigMap stay.
        manager = f"smtrain-{name}"
        self._cluster.apply(*maps, manager=manager)
        try:
            made = self._cluster.run("create", "-f", "-", "--output=json", text=json.dumps(job))
        except refusals.RefusedError as error:
            found = self.find(name) if refusals.ALREADY_EXISTS.search(error.errors) else None
            if found is None:
                self._take_back(maps)
                raise
            return found
        # With their content again: a shared one may have gone, just now, with the last of its owners.
        self._cluster.apply(*(_owned(each, json.loads(made)) for each in maps), manager=manager)
        return submissions.Known(job=name, state=State.RUNNING)

    def _take_back(self, maps: list[dict[str, Json]]) -> None:
        """Removes the ConfigMaps of a job that was not made; those that other runs may have stay."""
        names = [str(_metadata(each)["name"]) for each in maps]
        own = [name for name in names if name == self._run_id or name.startswith(f"{self._run_id}-")]
        with contextlib.suppress(SmtrainError):
            self._cluster.run("delete", "configmap", *own, "--ignore-not-found", "--wait=false")

    def _documents(self, name: str) -> tuple[list[dict[str, Json]], dict[str, Json]]:
        """Returns the ConfigMaps, and the job under a name, as kustomize makes them of the bundle."""
        text = self._cluster.run("kustomize", str(self._bundle))
        documents = [cast("dict[str, Json]", document) for document in yaml.safe_load_all(text) if document]
        (job,) = [document for document in documents if document["kind"] == self._submitted.kind]
        renamed = cast("dict[str, Json]", _labelled(job, name))
        renamed["metadata"] = {**_metadata(renamed), "name": name}
        return [document for document in documents if document["kind"] == "ConfigMap"], renamed


def _labelled(value: Json, name: str) -> Json:
    """Returns a part of the job in which every label that says the job's name says this one."""
    match value:
        case dict():
            return {key: name if key == pod.JOB_LABEL else _labelled(inner, name) for key, inner in value.items()}
        case list():
            return [_labelled(inner, name) for inner in value]
        case _:
            return value


def _owned(config_map: Mapping[str, Json], job: Mapping[str, Json]) -> dict[str, Json]:
    """Returns a ConfigMap as the job's, so that it goes when the last job that it is of has gone."""
    owner: Json = {
        "apiVersion": job["apiVersion"],
        "kind": job["kind"],
        "name": _metadata(job)["name"],
        "uid": _metadata(job)["uid"],
    }
    return {**config_map, "metadata": {**_metadata(config_map), "ownerReferences": [owner]}}


def _metadata(document: Mapping[str, Json]) -> dict[str, Json]:
    return cast("dict[str, Json]", document["metadata"])
