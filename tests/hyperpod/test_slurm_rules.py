"""What Slurm, bash or the nodes would refuse later is refused, or warned of, before anything is sent."""

from __future__ import annotations

import pytest
from slurm_compiling import compiled, errors, warnings


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
        ("++backend.sbatch.array=0-3", "backend.sbatch.array", "for smtrain to say"),
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
