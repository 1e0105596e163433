"""What SageMaker, S3, pip or bash would refuse later is refused, or warned of, before anything is sent."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
import yaml
from compiling import JOB, compiled, errors, file, request, warnings

from smtrain.errors import Problem, SmtrainError
from smtrain.pipeline import Compiled
from smtrain.spec import LocalFile, Upload
from smtrain.testing import compile_overrides

ELSEWHERE = "763104351884.dkr.ecr.eu-west-1.amazonaws.com/pytorch-training:2.8.0-gpu-py312-cu129-ubuntu22.04-sagemaker"
POINT = "s3://arn:aws:s3:us-east-1:123456789012:accesspoint/ap/x"
OURS = "backend.environment.SMTRAIN_OUTPUT_URI"
PROGRAM = "backend.hyperparameters.sagemaker_program"
REQUIREMENTS = "backend.install.requirements"
EIGHT = ("compute.instance_type=ml.g5.12xlarge", "compute.processes_per_node=8", "strategy=ddp")
GROUPS = (
    "compute.instance_type=null", "compute.nodes=2", "strategy=ddp", "model.path=s3://bucket/m",
    "++backend.instance_groups.a={instance_type: ml.p4d.24xlarge, count: 1}",
    "++backend.instance_groups.b={instance_type: ml.p4d.24xlarge, count: 1}",
)  # fmt: skip
ISOLATED = ("backend.network_isolation=true", "backend.model_dir=true", "++backend.checkpoints.uri=s3://bucket/c")


def in_yaml(folder: Path, tree: dict[str, object], *overrides: str) -> Compiled:
    """Compiles a job of which an experiment in YAML says a part: names there may have any character."""
    path = folder / "experiment" / "mine.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("# @package _global_\n" + yaml.safe_dump(tree, allow_unicode=True))
    return compile_overrides((*JOB, "experiment=mine", *overrides), config_dir=folder)


def errors_in_yaml(folder: Path, tree: dict[str, object]) -> list[Problem]:
    with pytest.raises(SmtrainError) as raised:
        in_yaml(folder, tree)
    return [problem for problem in raised.value.problems if problem.is_error]


@pytest.mark.parametrize(
    ("overrides", "key", "told"),
    [
        (("backend.role=SageMakerRole",), "backend.role", "arn:aws:iam::ACCOUNT:role/NAME"),
        (("backend.role=arn:aws:iam::123456789012:user/me",), "backend.role", "no ARN of a role"),
        (("backend.region=cn-north-1",), "backend.role", "aws-cn"),
        (("backend.region=us-est-1",), "backend.region", "us-west-1"),
        ((f"backend.image={ELSEWHERE}",), "backend.image", "us-east-1"),
        (("model.path=s3://My_Bucket/m",), "model.path", "My_Bucket"),
        (("data=alpaca", "data.path=s3://My_Bucket/rows.jsonl"), "data.path", "My_Bucket"),
        (("++backend.store=s3://My_Bucket/x",), "backend.store", "My_Bucket"),
        ((f"storage.output='{POINT}'",), "storage.output", "access point"),
        (("++backend.channels={c: {uri: s3://My_Bucket/x}}",), "backend.channels.c.uri", "My_Bucket"),
        (("++backend.channels={c: {uri: 's3://bucket/x/*'}}",), "backend.channels.c.uri", "Leave the * out"),
        (("++backend.channels={a/b: {uri: s3://bucket/x}}",), "backend.channels.a/b", "ChannelName"),
        (("backend.source_dir=''",), "backend.source_dir", "no folder"),
        (("backend.install.wheels=''",), "backend.install.wheels", "no folder"),
        (("backend.scratch_dir=/",), "backend.scratch_dir", "/opt/ml/input"),
        (("backend.scratch_dir=/opt/ml",), "backend.scratch_dir", "overlaps"),
        (("backend.scratch_dir=/tmp/../etc",), "backend.scratch_dir", ".."),
        (("++backend.python='python3 -u'",), "backend.python", "interpreter alone"),
        (("++backend.kms.code='a b'",), "backend.kms.code", "alias/NAME"),
        ((f"++{OURS}=s3://bucket/x",), OURS, "Rename"),
        (("backend.install.requirements=['einops=1.0']",), "backend.install.requirements", "einops==0.8.0"),
        (("backend.install.requirements=['-r more.txt']",), "backend.install.requirements", "this machine"),
        (("backend.install.requirements=['']",), "backend.install.requirements", "no requirement"),
        (("backend.install.requirements=[einops]", "backend.install.mode=never"), REQUIREMENTS, "never"),
        (("backend.install.index_url='https://me:word@host/simple'",), "backend.install.index_url", "password"),
        (("backend.install.index_url='not a url'",), "backend.install.index_url", "https://"),
        (("backend.entry=toolkit", f"++{PROGRAM}=x"), PROGRAM, "toolkit"),
        (EIGHT, "compute.processes_per_node", "4 GPUs"),
        (("compute.instance_type=ml.trn1.32xlarge",), "compute.instance_type", "Neuron"),
        (("compute.instance_type=ml.p3.2xlarge", "backend.volume_gib=99999"), "backend.volume_gib", "16384"),
        (GROUPS, "compute.gpus_per_node", "compute.gpus_per_node=8"),
        ((*ISOLATED, "backend.install.mode=never"), "backend.network_isolation", "hub"),
        ((*ISOLATED, "model.path=s3://bucket/m"), "backend.network_isolation", "llamafactory"),
    ],
)  # fmt: skip
def test_it_is_one_problem_at_its_own_key(overrides: tuple[str, ...], key: str, told: str) -> None:
    found = errors(*overrides)
    assert [problem.key for problem in found] == [key]
    assert told in f"{found[0].what}\n{found[0].fix}"
    assert found[0].where is not None


def test_a_mistake_in_one_of_several_channels_is_shown_at_its_line(tmp_path: Path) -> None:
    channels = {
        "good": {"uri": "s3://bucket/a"},
        "wrong": {"uri": "s3://bucket/b", "mode": "File", "compression": "Gzip"},
    }
    (problem,) = errors_in_yaml(tmp_path, {"backend": {"channels": channels}})
    assert problem.key == "backend.channels.wrong.compression"
    lines = (tmp_path / "experiment" / "mine.yaml").read_text().splitlines()
    assert "Gzip" in lines[int(str(problem.where).rpartition(":")[2]) - 1]


@pytest.mark.parametrize(
    "line",
    [
        "einops", "transformers[torch]>=4.5,<5", "flash-attn; python_version<'3.12'", "a~=1.0", "a == 1.0.*", "a (>=1)",
        "git+https://github.com/ORG/NAME@v1", "https://host/a-1-py3-none-any.whl", "a @ https://host/a.zip",
        "--extra-index-url https://host/simple", "# why",
    ],
)  # fmt: skip
def test_what_pip_takes_is_taken(line: str, tmp_path: Path) -> None:
    found = in_yaml(tmp_path, {"backend": {"install": {"requirements": [line]}}}).bundle.files
    (written,) = (each.content for each in found if each.path == "requirements.txt")
    assert written == f"{line}\n".encode()


def test_a_secret_in_the_environment_is_warned_of_by_its_name() -> None:
    told = warnings("++backend.environment={WANDB_API_KEY: abc, TOKENIZERS_PARALLELISM: 'false'}")
    assert "secrets.WANDB_API_KEY=secretsmanager:" in told["backend.environment.WANDB_API_KEY"]
    assert "backend.environment.TOKENIZERS_PARALLELISM" not in told


def test_an_image_of_aws_in_which_nothing_is_installed_is_warned_of() -> None:
    assert "llamafactory" in warnings("backend.install.mode=never")["backend.install.mode"]


def test_where_one_channel_names_groups_all_do() -> None:
    asked = request(
        *GROUPS, "compute.gpus_per_node=8", "++backend.inputs={model: File}",
        "++backend.channels={some: {uri: s3://bucket/x, instance_groups: [a]}, all: {uri: s3://bucket/y}}",
    )  # fmt: skip
    channels = asked["InputDataConfig"]
    assert isinstance(channels, list)
    named = {each["ChannelName"]: each["DataSource"]["S3DataSource"]["InstanceGroupNames"] for each in channels}  # type: ignore[index,call-overload]
    assert named.pop("some") == ["a"]
    assert set(named) >= {"program", "agent", "model", "all"}
    assert set(map(tuple, named.values())) == {("a", "b")}


def test_groups_that_all_have_efa_use_it() -> None:
    assert "FI_PROVIDER=efa" in file("launch.sh", *GROUPS, "compute.gpus_per_node=8")
    mixed = (*GROUPS[:-1], "++backend.instance_groups.b={instance_type: ml.p3.16xlarge, count: 1}")
    assert "FI_PROVIDER=efa" not in file("launch.sh", *mixed, "compute.gpus_per_node=8")


def test_an_uploaded_file_is_what_its_digest_says(tmp_path: Path) -> None:
    """The store is shared: a file in it may not have the id of one run, whatever words the user chose."""
    bundle = in_yaml(tmp_path, {"env": {"WORD": "{smtrain.run_id}"}}).bundle
    content = {each.path: each.content for each in bundle.files}
    for action in (action for action in bundle.actions if isinstance(action, Upload)):
        listing = []
        for path, key in sorted(action.files):
            found = content[path]
            digest = found.sha256 if isinstance(found, LocalFile) else hashlib.sha256(found).hexdigest()
            listing.append((key, digest))
        assert hashlib.sha256(json.dumps(listing).encode()).hexdigest()[:32] == action.uri.split("/")[-2]


def test_a_wrong_region_is_not_said_to_be_a_missing_image() -> None:
    assert [problem.key for problem in errors("backend.region=us-est-1")] == ["backend.region"]


def test_the_catalogue_of_types_leaves_good_jobs_alone() -> None:
    assert compiled("compute.instance_type=ml.g5.12xlarge", "strategy=ddp").job.topology.processes_per_node == 4
