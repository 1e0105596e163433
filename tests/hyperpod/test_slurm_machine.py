"""The cluster of examples/slurm-on-one-machine behaves as Slurm does."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from slurm_machine import PROGRAM, SlurmMachine, call


def test_a_step_runs_on_two_nodes_that_know_each_other_by_name(slurm_machine: SlurmMachine) -> None:
    seen = slurm_machine.ask("srun", "--nodes=2", "--ntasks-per-node=1", "bash", "-c", "echo $(hostname) $SLURM_NODEID")
    assert sorted(seen.splitlines()) == ["node-1 0", "node-2 1"]


def test_a_job_gets_the_gpus_that_it_asks_for(slurm_machine: SlurmMachine) -> None:
    words = ("bash", "-c", "echo $CUDA_VISIBLE_DEVICES")
    assert slurm_machine.ask("srun", "--nodes=1", "--gres=gpu:a100:8", *words) == "0,1,2,3,4,5,6,7"
    refused = slurm_machine.attempt("sbatch", "--gres=gpu:9", "--wrap=true")
    assert refused.returncode == 1
    assert "Requested node configuration is not available" in refused.stderr


def test_a_job_that_exits_3_failed_with_3(slurm_machine: SlurmMachine) -> None:
    job = slurm_machine.submit("exit 3")
    assert slurm_machine.until(job, "FAILED", "COMPLETED") == "FAILED"
    assert slurm_machine.field(job, "ExitCode") == "3:0"
    fields = slurm_machine.ask("sacct", "--completion", "--noheader", f"--jobs={job}", "--format=State,ExitCode")
    assert fields.split() == ["FAILED", "3:0"]


def test_without_a_database_sacct_refuses(slurm_machine: SlurmMachine) -> None:
    refused = slurm_machine.attempt("sacct", "--jobs=1")
    assert refused.returncode == 1
    assert "Slurm accounting storage is disabled" in refused.stderr


def test_with_a_database_sacct_knows_how_each_job_of_an_array_ended(accounting_machine: SlurmMachine) -> None:
    array = accounting_machine.submit("exit $SLURM_ARRAY_TASK_ID", "--array=0,3")
    words = (f"--jobs={array}", "--allocations", "--noheader", "--parsable2", "--format=JobID,State,ExitCode")
    ended = [f"{array}_0|COMPLETED|0:0", f"{array}_3|FAILED|3:0"]
    deadline = time.monotonic() + 30
    # The database hears of it a moment later than `scontrol show job` tells it.
    while (known := accounting_machine.ask("sacct", *words).splitlines()) != ended:
        assert time.monotonic() < deadline, known
        time.sleep(0.2)


def test_a_job_whose_step_exits_3_on_one_node_failed_with_3(slurm_machine: SlurmMachine) -> None:
    job = slurm_machine.submit("srun --kill-on-bad-exit bash -c 'exit $((3 * SLURM_NODEID))'", "--nodes=2")
    assert slurm_machine.until(job, "FAILED", "COMPLETED") == "FAILED"
    assert slurm_machine.field(job, "ExitCode") == "3:0"


def test_a_job_whose_node_is_lost_starts_again_on_another(slurm_machine: SlurmMachine) -> None:
    job = slurm_machine.submit('echo "try ${SLURM_RESTART_COUNT-0}"; sleep 300', "--requeue", "--nodes=2")
    slurm_machine.until_printed(job, "try 0")
    lost = slurm_machine.field(job, "BatchHost")
    slurm_machine.unplug(lost)
    try:
        # Mostly the first one; where a node was not ready for it, Slurm has put the job back once more.
        slurm_machine.until_printed(job, "\ntry ")
        assert int(slurm_machine.field(job, "Restarts")) >= 1
        assert slurm_machine.field(job, "BatchHost") != lost
    finally:
        slurm_machine.ask("scancel", job)
        slurm_machine.plug_in()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can start it")
def test_stop_ends_every_process_of_the_cluster_and_its_jobs(slurm_machine: SlurmMachine, tmp_path: Path) -> None:
    del slurm_machine  # that Slurm can be had here
    started = call("start", "--folder", str(tmp_path), "--nodes=1")
    assert started.returncode == 0, started.stderr
    assert started.stdout == f"export SLURM_CONF={tmp_path}/etc/slurm.conf\n"
    own = SlurmMachine(folder=tmp_path, nodes=("node-1",))
    mark = f"sleep-{os.getpid()}"
    own.until(own.submit(f"exec -a {mark} sleep 300"), "RUNNING")
    assert call("stop", "--folder", str(tmp_path)).returncode == 0
    left = [path for path in Path("/proc").glob("[0-9]*/cmdline") if _holds(path, str(tmp_path), mark)]
    assert left == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can start it")
def test_start_brings_back_what_is_off_and_leaves_the_rest(slurm_machine: SlurmMachine) -> None:
    slurm_machine.unplug("node-3")
    before = call("status", "--folder", str(slurm_machine.folder))
    assert before.returncode == 1
    assert "node-3: not running" in before.stdout
    slurm_machine.plug_in()
    after = call("status", "--folder", str(slurm_machine.folder))
    assert after.returncode == 0
    assert before.stdout.splitlines()[:4] == after.stdout.splitlines()[:4]
    assert slurm_machine.ask("srun", "--nodelist=node-3", "hostname") == "node-3"


def test_it_runs_as_in_a_container_with_cgroups_of_version_2_and_another_address(
    slurm_machine: SlurmMachine, tmp_path: Path
) -> None:
    del slurm_machine  # that Slurm can be had here
    (tmp_path / "hosts").write_text("127.0.0.1 localhost\n127.0.1.1 contained\n")
    prepare = f"mount -t cgroup2 none /sys/fs/cgroup; hostname contained; mount --bind {tmp_path}/hosts /etc/hosts"
    inside = f"""
    export SLURM_CONF={tmp_path}/x/etc/slurm.conf
    {sys.executable} {PROGRAM} start --folder {tmp_path}/x --nodes 2 || exit
    srun --nodes=2 hostname; sbatch --wait --quiet --nodes=2 --output={tmp_path}/output --wrap 'srun hostname'
    {sys.executable} {PROGRAM} stop --folder {tmp_path}/x
    """
    words = ("unshare", "--mount", "--uts", "bash", "-c", f"{prepare}\n{inside}")
    done = subprocess.run(words, capture_output=True, text=True, timeout=120, check=False)
    assert sorted(done.stdout.splitlines()[1:]) == ["node-1", "node-2"], done.stderr
    assert sorted((tmp_path / "output").read_text().splitlines()) == ["node-1", "node-2"]


def test_a_machine_that_lacks_the_packages_is_told_which(slurm_machine: SlurmMachine, tmp_path: Path) -> None:
    del slurm_machine  # that namespaces can be made here
    without = 'mount -t tmpfs none /usr/sbin && exec "$@"'
    words = ("unshare", "--mount", "bash", "-c", without, "bash", sys.executable, str(PROGRAM), "start", "--accounting")
    done = subprocess.run((*words, "--folder", tmp_path / "x"), capture_output=True, text=True, check=False)
    assert done.returncode == 4
    assert "Try: sudo apt-get install slurm-wlm munge slurmdbd mariadb-server" in done.stderr
    assert not (tmp_path / "x").exists()


def test_a_wish_that_cannot_be_is_refused_before_anything_starts(tmp_path: Path) -> None:
    for words, said in (
        (("--nodes=0",), "--nodes"),
        (("--gpu-type=a 100",), "--gpu-type"),
        (("--folder", str(tmp_path / "with space")), "spaces"),
        (("--folder", str(tmp_path / ("long" * 30))), "too long"),
    ):
        done = call("start", *(words if "--folder" in words else ("--folder", str(tmp_path / "x"), *words)))
        assert done.returncode == 1
        assert said in done.stderr
        assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


def _holds(path: Path, *texts: str) -> bool:
    try:
        words = path.read_text(errors="replace")
    except OSError:
        return False
    return any(text in words for text in texts)
