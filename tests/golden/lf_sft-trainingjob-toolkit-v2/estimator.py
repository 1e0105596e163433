#!/usr/bin/env python3
"""Trains on SageMaker, by the SageMaker Python SDK 2.

This makes the very job that `smtrain submit` makes of request.json, so use one of the
two. Files of the bundle that S3 lacks are uploaded first, as `smtrain submit` does.
Defaults of your own SDK configuration file apply, if you have one.

    pip install "sagemaker>=2.257,<3"
    python estimator.py            # starts the job, and shows its log until it ends
    python estimator.py --no-wait  # starts the job
"""

import argparse
import json
import os
from pathlib import Path

import boto3
from botocore.exceptions import ClientError
from sagemaker.estimator import Estimator
from sagemaker.inputs import TrainingInput

# Of the job, its files and its log.
os.environ["AWS_DEFAULT_REGION"] = "us-east-1"

JOB_NAME = "RUN-ID"


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

estimator = Estimator(
    image_uri="763104351884.dkr.ecr.us-east-1.amazonaws.com/pytorch:2.13-cu133-amzn2023-sagemaker",
    role="arn:aws:iam::123456789012:role/training",
    instance_type="ml.g5.2xlarge",
    instance_count=1,
    volume_size=200,
    max_run=86400,
    input_mode="File",
    output_path="s3://bucket/runs",
    metric_definitions=[
        {
            "Name": "loss",
            "Regex": "'loss': (?:np\\.float\\d+\\()?'?([-+]?(?:[0-9]+(?:\\.[0-9]*)?(?:[eE][-+]?[0-9]+)?|nan|inf))'?[,)}]",
        },
        {
            "Name": "eval_loss",
            "Regex": "'eval_loss': (?:np\\.float\\d+\\()?'?([-+]?(?:[0-9]+(?:\\.[0-9]*)?(?:[eE][-+]?[0-9]+)?|nan|inf))'?[,)}]",
        },
        {
            "Name": "learning_rate",
            "Regex": "'learning_rate': (?:np\\.float\\d+\\()?'?([-+]?(?:[0-9]+(?:\\.[0-9]*)?(?:[eE][-+]?[0-9]+)?|nan|inf))'?[,)}]",
        },
        {
            "Name": "grad_norm",
            "Regex": "'grad_norm': (?:np\\.float\\d+\\()?'?([-+]?(?:[0-9]+(?:\\.[0-9]*)?(?:[eE][-+]?[0-9]+)?|nan|inf))'?[,)}]",
        },
        {
            "Name": "epoch",
            "Regex": "'epoch': (?:np\\.float\\d+\\()?'?([-+]?(?:[0-9]+(?:\\.[0-9]*)?(?:[eE][-+]?[0-9]+)?|nan|inf))'?[,)}]",
        },
        {
            "Name": "train_loss",
            "Regex": "'train_loss': (?:np\\.float\\d+\\()?'?([-+]?(?:[0-9]+(?:\\.[0-9]*)?(?:[eE][-+]?[0-9]+)?|nan|inf))'?[,)}]",
        },
        {
            "Name": "train_runtime_s",
            "Regex": "'train_runtime': (?:np\\.float\\d+\\()?'?([-+]?(?:[0-9]+(?:\\.[0-9]*)?(?:[eE][-+]?[0-9]+)?|nan|inf))'?[,)}]",
        },
        {
            "Name": "train_samples_per_second",
            "Regex": "'train_samples_per_second': (?:np\\.float\\d+\\()?'?([-+]?(?:[0-9]+(?:\\.[0-9]*)?(?:[eE][-+]?[0-9]+)?|nan|inf))'?[,)}]",
        },
        {
            "Name": "rewards_chosen",
            "Regex": "'rewards/chosen': (?:np\\.float\\d+\\()?'?([-+]?(?:[0-9]+(?:\\.[0-9]*)?(?:[eE][-+]?[0-9]+)?|nan|inf))'?[,)}]",
        },
        {
            "Name": "rewards_rejected",
            "Regex": "'rewards/rejected': (?:np\\.float\\d+\\()?'?([-+]?(?:[0-9]+(?:\\.[0-9]*)?(?:[eE][-+]?[0-9]+)?|nan|inf))'?[,)}]",
        },
        {
            "Name": "rewards_accuracies",
            "Regex": "'rewards/accuracies': (?:np\\.float\\d+\\()?'?([-+]?(?:[0-9]+(?:\\.[0-9]*)?(?:[eE][-+]?[0-9]+)?|nan|inf))'?[,)}]",
        },
        {
            "Name": "rewards_margins",
            "Regex": "'rewards/margins': (?:np\\.float\\d+\\()?'?([-+]?(?:[0-9]+(?:\\.[0-9]*)?(?:[eE][-+]?[0-9]+)?|nan|inf))'?[,)}]",
        },
        {
            "Name": "eval_accuracy",
            "Regex": "'eval_accuracy': (?:np\\.float\\d+\\()?'?([-+]?(?:[0-9]+(?:\\.[0-9]*)?(?:[eE][-+]?[0-9]+)?|nan|inf))'?[,)}]",
        },
        {
            "Name": "eval_rewards_accuracies",
            "Regex": "'eval_rewards/accuracies': (?:np\\.float\\d+\\()?'?([-+]?(?:[0-9]+(?:\\.[0-9]*)?(?:[eE][-+]?[0-9]+)?|nan|inf))'?[,)}]",
        },
        {
            "Name": "eval_rewards_margins",
            "Regex": "'eval_rewards/margins': (?:np\\.float\\d+\\()?'?([-+]?(?:[0-9]+(?:\\.[0-9]*)?(?:[eE][-+]?[0-9]+)?|nan|inf))'?[,)}]",
        },
        {
            "Name": "train_steps_per_second",
            "Regex": "'train_steps_per_second': (?:np\\.float\\d+\\()?'?([-+]?(?:[0-9]+(?:\\.[0-9]*)?(?:[eE][-+]?[0-9]+)?|nan|inf))'?[,)}]",
        },
        {
            "Name": "num_input_tokens_seen",
            "Regex": "'num_input_tokens_seen': (?:np\\.float\\d+\\()?'?([-+]?(?:[0-9]+(?:\\.[0-9]*)?(?:[eE][-+]?[0-9]+)?|nan|inf))'?[,)}]",
        },
    ],
    environment={"SMTRAIN_OUTPUT_URI": "s3://bucket/runs/RUN-ID"},
    hyperparameters={
        "sagemaker_program": '"launch.sh"',
        "sagemaker_submit_directory": '"/opt/ml/input/data/program"',
    },
    disable_profiler=True,
    debugger_hook_config=False,
)

upload()
estimator.fit(
    inputs={
        "program": TrainingInput(
            s3_data="s3://bucket/runs/store/cfd7aee1acd5aaa20a3755e7dcafd125/",
            s3_data_type="S3Prefix",
            distribution="FullyReplicated",
        ),
        "agent": TrainingInput(
            s3_data="s3://bucket/runs/store/AGENT/",
            s3_data_type="S3Prefix",
            distribution="FullyReplicated",
        ),
        "data-1": TrainingInput(
            s3_data="s3://bucket/runs/store/f0a2231ee99cae7789c19a969ed8690f/",
            s3_data_type="S3Prefix",
            distribution="FullyReplicated",
        ),
    },
    job_name=JOB_NAME,
    wait=wait,
)
