"""A cluster's configuration, as the folder of a test has it."""

from __future__ import annotations

BUCKET = "sagemaker-lifecycle"
STORE = f"s3://{BUCKET}/scripts"

CONFIG = """\
defaults:
  - slurm
  - _self_
name: NAME
region: us-east-1
role: arn:aws:iam::123456789012:role/hyperpod
lifecycle: {base: base, store: s3://sagemaker-lifecycle/scripts}
groups:
  controller: {instance_type: ml.m5.xlarge}
  workers: {instance_type: ml.g5.12xlarge, count: 2, partition: gpu}
"""


def edit(here, old, new):
    """Changes the choice `cluster=mine`."""
    path = here / "conf" / "cluster" / "mine.yaml"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def name_of(here):
    """Returns the name of the cluster that `cluster=mine` is."""
    line = next(line for line in (here / "conf" / "cluster" / "mine.yaml").read_text().splitlines() if "name: " in line)
    return line.removeprefix("name: ")
