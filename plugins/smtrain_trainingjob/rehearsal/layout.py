"""Writes what SageMaker puts below `/opt/ml` before the entrypoint starts.

Source: "How Amazon SageMaker AI Provides Training Information", SageMaker developer guide.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import replace
from itertools import groupby

from smtrain.plugin import Json
from smtrain_trainingjob.rehearsal.channel import Channel
from smtrain_trainingjob.rehearsal.hosts import Host
from smtrain_trainingjob.rehearsal.isolation import Isolation
from smtrain_trainingjob.rehearsal.request import JobRequest


def write(job: JobRequest, host: Host, hosts: tuple[Host, ...], isolation: Isolation) -> None:
    """Makes the folders of one host, and the three documents that describe the job to it."""
    for folder in ("input/config", "input/data", "model", "output/data", "output/metrics/sagemaker", "code"):
        (host.ml / folder).mkdir(parents=True, exist_ok=True)
    host.work.mkdir(exist_ok=True)
    documents: dict[str, Json] = {
        "resourceconfig": {**_resources(host, hosts), "network_interface_name": isolation.interface},
        "inputdataconfig": {channel.name: _input(channel) for channel in channels_of(job, host, hosts)},
        "hyperparameters": {name: isolation.local(host, value) for name, value in job.hyperparameters.items()},
    }
    for name, document in documents.items():
        text = json.dumps(document, ensure_ascii=False)
        (host.ml / "input/config" / f"{name}.json").write_text(text, encoding="utf-8")


def channels_of(job: JobRequest, host: Host, hosts: Iterable[Host]) -> tuple[Channel, ...]:
    """Returns the channels that a host gets, each with the host's share of it."""
    found = []
    for channel in job.channels:
        sharing = [each.name for each in hosts if not channel.groups or each.group in channel.groups]
        if host.name in sharing:
            found.append(replace(channel, shard=sharing.index(host.name), shards=len(sharing)))
    return tuple(found)


def _resources(host: Host, hosts: tuple[Host, ...]) -> dict[str, Json]:
    return {
        "current_group_name": host.group,
        "current_host": host.known_as,
        "current_instance_type": host.instance_type,
        "hosts": [each.known_as for each in hosts],
        "instance_groups": [
            {
                "instance_group_name": name,
                "instance_type": instance_type,
                "hosts": [each.known_as for each in members],
            }
            for (name, instance_type), members in groupby(hosts, key=lambda each: (each.group, each.instance_type))
        ],
    }


def _input(channel: Channel) -> dict[str, Json]:
    wrapper: dict[str, Json] = {
        "TrainingInputMode": channel.input_mode,
        "S3DistributionType": channel.distribution,
        "RecordWrapperType": channel.record_wrapper,
    }
    return {"ContentType": channel.content_type, **wrapper} if channel.content_type else wrapper
