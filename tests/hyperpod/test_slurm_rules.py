"""What Slurm, bash or the nodes would refuse later is refused, or warned of, before anything is sent."""

from __future__ import annotations

import pytest
from slurm_compiling import JOB, compiled, errors, warnings

from smtrain.testing import compile_overrides


@pytest.mark.parametrize(
    ("override", "key", "told"),
    [
        ("backend.partition='gpu;rm -rf /'", "backend.partition", "no name that Slurm gives"),
        ('backend.partition="a\nb"', "backend.partition", "no name that Slurm gives"),
        ("backend.account=''", "backend.account", "no name"),
        ('backend.constraint="a\nb"', "backend.constraint", "characters"),
        ("++backend.dependency=''", "backend.dependency", "empty"),
        ("backend.time='4h'", "backend.time", "no time limit"),
        ("backend.time='1:2:3:4'", "backend.time", "no time limit"),
        ("backend.time='0'", "backend.time", "no time limit"),
        ("backend.time=4", "backend.time", "is a number; wanted is text"),
        ("backend.requeue.lead_s=70000", "backend.requeue.lead_s", "too large"),
        ("backend.time='5'", "backend.time", "backend.requeue.lead_s"),
        ("backend.mem='lots'", "backend.mem", "64G"),
        ("backend.mail.user='me and you'", "backend.mail.user", "no address"),
        ("backend.login='-oProxyCommand=id'", "backend.login", "no name of a host"),
        ("backend.login='a b'", "backend.login", "no name of a host"),
        ("backend.region=virginia", "backend.region", "us-east-1"),
        ("backend.shared_dir='/fsx/a b'", "backend.shared_dir", "no plain path"),
        ("backend.shared_dir='/fsx/%j'", "backend.shared_dir", "no plain path"),
        ("backend.shared_dir='/fsx/../etc'", "backend.shared_dir", "no plain path"),
        ("backend.shared_dir=/tmp", "backend.shared_dir", "no folder that nodes share"),
        ("backend.shared_dir=here", "backend.shared_dir", ""),
        ("++backend.scratch_dir='/nvme/$(id)'", "backend.scratch_dir", "no plain path"),
        ("storage.output=results", "storage.output", "full path on the cluster"),
        ("storage.output='s3://bucket/a b'", "storage.output", "no plain s3:// URI"),
        ("++backend.sbatch.partiton=gpu", "backend.sbatch.partiton", "Did you mean"),
        ("++backend.sbatch.nodes=3", "backend.sbatch.nodes", "compute.nodes"),
        ("++backend.sbatch.array=0-3", "backend.sbatch.array", "said by backend.array"),
        ("++backend.sbatch.output=x", "backend.sbatch.output", "for smtrain to say"),
        ("++backend.sbatch.comment=true", "backend.sbatch.comment", "needs a value"),
        ("++backend.sbatch.contiguous=yes", "backend.sbatch.contiguous", ""),
        ("++backend.sbatch.contiguous=false", "backend.sbatch.contiguous", "Leave it out"),
        ('++backend.sbatch.comment="a\n#SBATCH --uid=0"', "backend.sbatch.comment", "characters"),
        ("backend.prologue=['module load (']", "backend.prologue", "not valid bash"),
        ("backend.python='-c'", "backend.python", "no name"),
        ("backend.gpu_type='a 100'", "backend.gpu_type", "no name"),
        ("backend.container={image: '-x'}", "backend.container.image", "no name of an image"),
        ("backend.container={image: x, mounts: ['/a:b']}", "backend.container.mounts", "no mount"),
        ("backend.container={image: x, options: [id]}", "backend.container.options", "no option"),
        ("backend.container={image: x, runtime: podman}", "backend.container.runtime", "docker"),
        ("backend.container={image: x, img: y}", "backend.container.img", "Unknown key"),
        ("backend.container={runtime: docker}", "backend.container.image", "required"),
        ("backend.install.requirements=['-r mine.txt']", "backend.install.requirements", "of this machine"),
        ("backend.install.wheels=nowhere", "backend.install.wheels", "no folder"),
        ("backend.source_dir=nowhere", "backend.source_dir", "no folder"),
        ("backend.no_such_key=1", "backend.no_such_key", ""),
    ],
)
def test_a_setting_that_cannot_be_is_told_at_its_key(override: str, key: str, told: str) -> None:
    found = errors(override)
    assert key in found
    assert told in found[key]


def test_two_environments_are_one_too_many() -> None:
    assert "backend.conda" in errors("backend.venv=/fsx/env", "backend.conda=train")
    assert "backend.venv" in errors("backend.venv=/fsx/env", "backend.container={image: x}")


def test_a_file_in_the_home_folder_is_out_of_a_containers_reach() -> None:
    assert "backend.env_file" in errors("++backend.env_file='~/secrets'", "backend.container={image: x}")
    assert "backend.env_file" not in errors("++backend.env_file='/fsx/secrets'", "backend.container={image: x}")


def test_everything_is_told_at_once() -> None:
    assert {"backend.time", "backend.mem", "backend.partition"} <= set(
        errors("backend.time=soon", "backend.mem=lots", "backend.partition='?'")
    )


@pytest.mark.parametrize("limit", ["90", "90:30", "2:30:00", "1-12", "1-12:30", "1-12:30:15", "UNLIMITED"])
def test_every_form_of_a_time_limit_is_taken(limit: str) -> None:
    assert errors(f"backend.time='{limit}'") == {}


def test_a_step_that_may_save_longer_than_there_is_time_is_doubted() -> None:
    assert "backend.requeue.lead_s" in warnings("backend.time='4:00:00'", "backend.grace_s=600")


# Decoder layers of Llama 3 8B: 32 × (2·4096² + 2·4096·1024 + 3·4096·14336) = 6,979,321,856 weights. A step of 128
# samples of 8192 tokens costs 6 × that × 1,048,576 operations, which take 16 H100 of 989 TFLOPS 2.775 s; 500 of them
# take 23.1 minutes.
LONG_INTERVALS = (
    "model.path=meta-llama/Meta-Llama-3-8B",
    "compute.instance_type=ml.p5.48xlarge",
    "global_batch_size=128",
    "trainer.args.finetuning_type=full",
    "trainer.args.cutoff_len=8192",
    "trainer.args.save_steps=500",
    "trainer.args.max_steps=2000",
)


def test_an_interval_between_checkpoints_longer_than_the_time_limit_is_doubted() -> None:
    told = warnings(*LONG_INTERVALS, "backend.time='25'")["backend.time"]
    assert "The 500 steps between two checkpoints take at least 23 min on 16 GPUs" in told
    assert "told to end after 20 min" in told
    assert "if every sample is as long as trainer.args.cutoff_len allows" in told
    assert "trainer.args.save_steps" in told


@pytest.mark.parametrize(
    "enough",
    [
        "backend.time='29'",  # 24 minutes remain
        "backend.time=unlimited",
        "backend.time=null",
        "++backend.requeue.lead_s=60",  # 24 minutes remain
        "trainer.args.save_steps=400",  # 18.5 minutes
        "trainer.args.save_steps=0.2",  # 400 of 2000
        "trainer.args.max_steps=400",  # all there is to do
        "++trainer.args.enable_jit_checkpoint=true",  # saved when the time is up
        "trainer.args.finetuning_type=lora",  # 4 operations in place of 6: 15.4 minutes
        "compute.instance_type=ml.p6-b200.48xlarge",  # 2250 TFLOPS: 10.2 minutes
        "global_batch_size=64",
        "compute.nodes=4",
    ],
)
def test_an_interval_that_may_fit_into_the_time_limit_is_not_doubted(enough: str) -> None:
    assert "backend.time" not in warnings(*LONG_INTERVALS, "backend.time='25'", enough)


@pytest.mark.parametrize(
    "unknown",
    [
        "model.path=ORG/NAME",
        "compute.instance_type=null",
        "compute.instance_type=ml.g7e.48xlarge",  # a GPU of no known peak
        "++trainer.args.tokenized_path=rows",  # cut to a length of its own
        "++trainer.args.use_galore=true",
    ],
)
def test_of_an_interval_of_unknown_length_nothing_is_said(unknown: str) -> None:
    assert "backend.time" not in warnings(*LONG_INTERVALS, "backend.time='25'", unknown)


def test_the_gpu_may_be_named_as_slurm_names_it() -> None:
    by_slurm = (*LONG_INTERVALS, "compute.instance_type=null", "backend.time='25'")
    assert "23 min" in warnings(*by_slurm, "backend.gpu_type=h100")["backend.time"]
    assert "backend.time" not in warnings(*by_slurm, "backend.gpu_type=b200")


def test_joined_samples_have_no_condition_and_pairs_count_twice() -> None:
    joined = warnings(*LONG_INTERVALS, "backend.time='25'", "++trainer.args.packing=true")["backend.time"]
    assert "23 min" in joined
    assert "if every sample" not in joined
    pairs = of_trainer("lf_dpo", *LONG_INTERVALS, "backend.time='25'", "data=example_preference")["backend.time"]
    assert "The 500 steps between two checkpoints take at least 46 min" in pairs


def test_a_training_that_saves_nothing_is_told_what_its_time_limit_does() -> None:
    never = ("++trainer.args.save_strategy='no'", "backend.time='4:00:00'")
    shared = warnings(*never)["backend.time"]
    assert "No checkpoint is saved on the way" in shared
    assert "is lost, and is not requeued" in shared
    assert "trainer.args.save_strategy" in shared
    to_s3 = warnings(*never, "storage.output=s3://bucket/out")["backend.time"]
    assert "starts from the beginning each time" in to_s3
    assert (
        "is not requeued"
        in warnings(*never, "storage.output=s3://bucket/out", "++backend.requeue.most=0")["backend.time"]
    )


@pytest.mark.parametrize(
    "fine", ["backend.requeue.on_time_limit=false", "backend.time=null", "++trainer.args.save_strategy=epoch"]
)
def test_a_training_whose_limit_costs_nothing_or_is_none_is_not_doubted(fine: str) -> None:
    assert "backend.time" not in warnings("++trainer.args.save_strategy='no'", "backend.time='4:00:00'", fine)


def test_a_trainer_that_saves_when_it_is_told_to_end_needs_no_interval() -> None:
    assert "backend.time" not in of_trainer("native_sft", "trainer.checkpoints.every=null", "backend.time='25'")


def of_trainer(name: str, *overrides: str) -> dict[str, str]:
    """Returns key → text of the doubts about the job of another trainer."""
    same = [word for word in JOB if not word.startswith("trainer") or name.startswith("lf_")]
    chosen = [word for word in same if not word.startswith("trainer=")]
    found = compile_overrides((*chosen, f"trainer={name}", *overrides)).warnings
    return {problem.key: problem.what for problem in found}


def test_one_cpu_for_a_whole_training_is_doubted() -> None:
    assert "backend.cpus_per_task" in warnings("backend.exclusive=false")
    assert "backend.cpus_per_task" not in warnings("backend.exclusive=false", "backend.cpus_per_task=16")


def test_a_folder_of_this_machine_is_none_of_a_cluster_elsewhere(tiny_model) -> None:
    elsewhere = errors("backend.login=cluster", f"model.path={tiny_model}", "model.template=default")
    assert "target:/PATH" in elsewhere["model.path"]
    # Whoever is on the login node means a folder that the nodes share.
    assert errors(f"model.path={tiny_model}", "model.template=default") == {}


def test_a_cost_is_told_when_the_user_names_a_price() -> None:
    assert compiled().bundle.cost is None
    cost = compiled("++backend.usd_per_hour=2.5", "backend.time='2:00:00'").bundle.cost
    assert cost is not None
    assert cost.usd_per_hour == 5.0
