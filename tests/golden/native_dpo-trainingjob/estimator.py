#!/usr/bin/env python3
"""Trains on SageMaker, by the SageMaker Python SDK 3.

This makes the very job that `smtrain submit` makes of request.json, so use one of the
two. Files of the bundle that S3 lacks are uploaded first, as `smtrain submit` does.
Defaults of your own SDK configuration file apply, if you have one.

    pip install "sagemaker>=3.27,<4"
    python estimator.py            # starts the job, and shows its log until it ends
    python estimator.py --no-wait  # starts the job
"""

import argparse
import json
import logging
import os
from pathlib import Path

import boto3
from botocore.exceptions import ClientError
from sagemaker.core.helper.session_helper import Session
from sagemaker.core.training.configs import (
    Channel,
    Compute,
    DataSource,
    MetricDefinition,
    OutputDataConfig,
    S3DataSource,
    StoppingCondition,
)
from sagemaker.train import ModelTrainer

# Of the job, its files and its log.
os.environ["AWS_DEFAULT_REGION"] = "us-east-1"

JOB_NAME = "RUN-ID"

# What ModelTrainer has no argument for. An entry point, for one, it sends only for code
# of its own staging, and then its own one.
MORE = {
    "AlgorithmSpecification": {
        "ContainerEntrypoint": ["/bin/bash", "/opt/ml/input/data/program/launch.sh"],
    },
    "ProfilerConfig": {"DisableProfiler": True},
}


def name_job(params, **_):
    """Gives the job its own name; ModelTrainer's ends in the time."""
    params["TrainingJobName"] = JOB_NAME


def complete(params, **_):
    """Completes the request; boto3 calls this before it checks and sends one."""
    for name, value in MORE.items():
        inside = isinstance(value, dict)
        params[name] = {**params.get(name, {}), **value} if inside else value


def upload():
    """Sends to S3 what the job reads; a folder's name there is a digest of its content."""
    bundle = Path(__file__).resolve().parent
    if not (bundle / "manifest.json").exists():
        return
    manifest = json.loads((bundle / "manifest.json").read_text(encoding="utf-8"))
    for action in manifest["actions"]:
        if action["do"] != "upload":
            continue
        s3 = boto3.client("s3", region_name=action["region"] or None)
        bucket, _, folder = action["uri"].removeprefix("s3://").partition("/")
        kms = {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": action["kms_key"]}
        extra = kms if action["kms_key"] else None
        for path, name in action["files"]:
            key = folder + name
            try:
                s3.head_object(Bucket=bucket, Key=key)
            except ClientError:
                s3.upload_file(str(bundle / path), bucket, key, ExtraArgs=extra)


parser = argparse.ArgumentParser()
parser.add_argument("--no-wait", action="store_true", help="start it, and be done")
wait = not parser.parse_args().no_wait

# The SDK shows the job's log by way of logging, and leaves it to its user to show that.
logging.basicConfig(format="%(message)s")
logging.getLogger("sagemaker").setLevel(logging.INFO)

# The SDK would refuse a role that lacks any permission of its own list, those of a VPC
# included. What this job needs SageMaker looks at itself.
os.environ.setdefault("SAGEMAKER_VALIDATE_ROLE", "false")

# boto3's own way to complete a request: its guide "Extensibility".
boto_session = boto3.Session()
register = boto_session.events.register
register("provide-client-params.sagemaker.CreateTrainingJob", name_job)
register("provide-client-params.sagemaker.DescribeTrainingJob", name_job)
register("provide-client-params.sagemaker.CreateTrainingJob", complete)

trainer = ModelTrainer(
    training_image="763104351884.dkr.ecr.us-east-1.amazonaws.com/pytorch:2.13-cu133-amzn2023-sagemaker",
    role="arn:aws:iam::123456789012:role/training",
    compute=Compute(
        instance_type="ml.g5.2xlarge",
        instance_count=1,
        volume_size_in_gb=200,
    ),
    stopping_condition=StoppingCondition(max_runtime_in_seconds=86400),
    training_input_mode="File",
    input_data_config=[
        Channel(
            channel_name="program",
            data_source=DataSource(
                s3_data_source=S3DataSource(
                    s3_data_type="S3Prefix",
                    s3_uri="s3://bucket/runs/store/32772238ce3f84683f04c8afce402ce6/",
                    s3_data_distribution_type="FullyReplicated",
                ),
            ),
        ),
        Channel(
            channel_name="agent",
            data_source=DataSource(
                s3_data_source=S3DataSource(
                    s3_data_type="S3Prefix",
                    s3_uri="s3://bucket/runs/store/AGENT/",
                    s3_data_distribution_type="FullyReplicated",
                ),
            ),
        ),
        Channel(
            channel_name="library",
            data_source=DataSource(
                s3_data_source=S3DataSource(
                    s3_data_type="S3Prefix",
                    s3_uri="s3://bucket/runs/store/LIBRARY/",
                    s3_data_distribution_type="FullyReplicated",
                ),
            ),
        ),
        Channel(
            channel_name="data-1",
            data_source=DataSource(
                s3_data_source=S3DataSource(
                    s3_data_type="S3Prefix",
                    s3_uri="s3://bucket/runs/store/98156aae3a4e04ed2687117c05c4ffc1/",
                    s3_data_distribution_type="FullyReplicated",
                ),
            ),
        ),
    ],
    output_data_config=OutputDataConfig(s3_output_path="s3://bucket/runs"),
    environment={"SMTRAIN_OUTPUT_URI": "s3://bucket/runs/RUN-ID"},
    sagemaker_session=Session(boto_session=boto_session),
)
trainer.with_metric_definitions(
    [
        MetricDefinition(
            name="epoch",
            regex="step [0-9]+/[0-9]+\\s(?:.*\\s)?epoch\\s+([-+]?(?:[0-9]+(?:\\.[0-9]*)?(?:[eE][-+]?[0-9]+)?|nan|inf))(?:[^A-Za-z0-9]|$)",
        ),
        MetricDefinition(
            name="loss",
            regex="step [0-9]+/[0-9]+\\s(?:.*\\s)?loss\\s+([-+]?(?:[0-9]+(?:\\.[0-9]*)?(?:[eE][-+]?[0-9]+)?|nan|inf))(?:[^A-Za-z0-9]|$)",
        ),
        MetricDefinition(
            name="learning_rate",
            regex="step [0-9]+/[0-9]+\\s(?:.*\\s)?lr\\s+([-+]?(?:[0-9]+(?:\\.[0-9]*)?(?:[eE][-+]?[0-9]+)?|nan|inf))(?:[^A-Za-z0-9]|$)",
        ),
        MetricDefinition(
            name="grad_norm",
            regex="step [0-9]+/[0-9]+\\s(?:.*\\s)?grad_norm\\s+([-+]?(?:[0-9]+(?:\\.[0-9]*)?(?:[eE][-+]?[0-9]+)?|nan|inf))(?:[^A-Za-z0-9]|$)",
        ),
        MetricDefinition(
            name="accuracy",
            regex="step [0-9]+/[0-9]+\\s(?:.*\\s)?accuracy\\s+([-+]?(?:[0-9]+(?:\\.[0-9]*)?(?:[eE][-+]?[0-9]+)?|nan|inf))(?:[^A-Za-z0-9]|$)",
        ),
        MetricDefinition(
            name="margin",
            regex="step [0-9]+/[0-9]+\\s(?:.*\\s)?margin\\s+([-+]?(?:[0-9]+(?:\\.[0-9]*)?(?:[eE][-+]?[0-9]+)?|nan|inf))(?:[^A-Za-z0-9]|$)",
        ),
        MetricDefinition(
            name="chosen_reward",
            regex="step [0-9]+/[0-9]+\\s(?:.*\\s)?chosen_reward\\s+([-+]?(?:[0-9]+(?:\\.[0-9]*)?(?:[eE][-+]?[0-9]+)?|nan|inf))(?:[^A-Za-z0-9]|$)",
        ),
        MetricDefinition(
            name="rejected_reward",
            regex="step [0-9]+/[0-9]+\\s(?:.*\\s)?rejected_reward\\s+([-+]?(?:[0-9]+(?:\\.[0-9]*)?(?:[eE][-+]?[0-9]+)?|nan|inf))(?:[^A-Za-z0-9]|$)",
        ),
        MetricDefinition(
            name="chosen_logps",
            regex="step [0-9]+/[0-9]+\\s(?:.*\\s)?chosen_logps\\s+([-+]?(?:[0-9]+(?:\\.[0-9]*)?(?:[eE][-+]?[0-9]+)?|nan|inf))(?:[^A-Za-z0-9]|$)",
        ),
        MetricDefinition(
            name="rejected_logps",
            regex="step [0-9]+/[0-9]+\\s(?:.*\\s)?rejected_logps\\s+([-+]?(?:[0-9]+(?:\\.[0-9]*)?(?:[eE][-+]?[0-9]+)?|nan|inf))(?:[^A-Za-z0-9]|$)",
        ),
        MetricDefinition(
            name="samples",
            regex="step [0-9]+/[0-9]+\\s(?:.*\\s)?samples\\s+([-+]?(?:[0-9]+(?:\\.[0-9]*)?(?:[eE][-+]?[0-9]+)?|nan|inf))(?:[^A-Za-z0-9]|$)",
        ),
        MetricDefinition(
            name="tokens_per_s",
            regex="step [0-9]+/[0-9]+\\s(?:.*\\s)?tokens/s\\s+([-+]?(?:[0-9]+(?:\\.[0-9]*)?(?:[eE][-+]?[0-9]+)?|nan|inf))(?:[^A-Za-z0-9]|$)",
        ),
        MetricDefinition(
            name="fill",
            regex="step [0-9]+/[0-9]+\\s(?:.*\\s)?fill\\s+([-+]?(?:[0-9]+(?:\\.[0-9]*)?(?:[eE][-+]?[0-9]+)?|nan|inf))(?:[^A-Za-z0-9]|$)",
        ),
        MetricDefinition(
            name="memory_gib",
            regex="step [0-9]+/[0-9]+\\s(?:.*\\s)?memory_gib\\s+([-+]?(?:[0-9]+(?:\\.[0-9]*)?(?:[eE][-+]?[0-9]+)?|nan|inf))(?:[^A-Za-z0-9]|$)",
        ),
        MetricDefinition(
            name="mfu",
            regex="step [0-9]+/[0-9]+\\s(?:.*\\s)?mfu\\s+([-+]?(?:[0-9]+(?:\\.[0-9]*)?(?:[eE][-+]?[0-9]+)?|nan|inf))(?:[^A-Za-z0-9]|$)",
        ),
    ],
)

upload()
trainer.train(wait=wait, logs=wait)
