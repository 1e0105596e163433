"""Runs in a real Slurm: from the command to the last process, and what goes wrong on the way."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from slurm_jobs import COUNTS, script, until
from slurm_jobs import submit as submitted

pytest_plugins = ("slurm_runs", "plain_trainer")
pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("plain_trainer")]

TRAINS = """
echo "training on $SMTRAIN_NODE_RANK of $SMTRAIN_NUM_NODES at $(hostname)"
if [ $SMTRAIN_NODE_RANK = 0 ]; then
  echo "{\\"step\\": 1, \\"total\\": 1, \\"loss\\": 1.5}" >>out/log.jsonl
  mkdir out/checkpoint-1
  echo state >out/checkpoint-1/state
  touch out/checkpoint-1/done
  echo weights >out/adapter.txt
fi
"""
WAITS = "echo ready; sleep 600 & wait"


def run_on(shared: Path, run_id: str) -> Path:
    return shared / "runs" / run_id


def test_a_run_on_two_nodes_ends_with_its_results_here(smtrain, words, shared) -> None:
    answer = smtrain("run", *words, script(TRAINS), "--json")
    assert answer.code == 0, answer.err
    run_id = answer.document["run_id"]
    assert answer.document["state"] == "succeeded"
    assert answer.document["hosts"] == 2
    log = smtrain("logs", run_id).out
    assert re.search(r"node-0 +training on 0 of 2 at node-\d", log)
    assert re.search(r"node-1 +training on 1 of 2 at node-\d", log)
    # The metrics came by themselves.
    rows = [json.loads(row) for row in Path("runs", run_id, "metrics.jsonl").read_text().splitlines()]
    assert [row["loss"] for row in rows] == [1.5]
    fetched = smtrain("fetch", run_id, "--model", "--checkpoints")
    assert fetched.code == 0
    assert Path("runs", run_id, "output/adapter/adapter.txt").read_text() == "weights\n"
    assert Path("runs", run_id, "output/adapter/checkpoint-1/state").read_text() == "state\n"
    # Nothing is left on the nodes' own disks.
    scratch = next(word.partition("=")[2] for word in words if "scratch_dir" in word)
    assert list(Path(scratch).iterdir()) == []
    assert (run_on(shared, run_id) / "output/adapter/adapter.txt").exists()


def test_the_exit_code_of_a_failing_node_is_the_jobs(smtrain, words, slurm_machine) -> None:
    text = f'if [ $SMTRAIN_NODE_RANK = 1 ]; then echo "ValueError: no such column" >&2; exit 3; fi\n{WAITS}'
    run_id, job = submitted(smtrain, *words, script(text))
    slurm_machine.until(job, "FAILED")
    assert slurm_machine.field(job, "ExitCode") == "3:0"
    status = smtrain("status", run_id)
    assert status.code == 1
    assert re.search(
        r"step train failed with exit code 3 on node-\d \(node 1\): ValueError: no such column", status.out
    )
    assert re.search(r"log .*", status.out)


def test_a_stopped_run_saves_and_the_next_one_goes_on(smtrain, words, slurm_machine) -> None:
    run_id, job = submitted(smtrain, *words, script(COUNTS))
    until(lambda: "first" in smtrain("logs", run_id).out)
    assert smtrain("stop", run_id).code == 0
    slurm_machine.until(job, "FAILED")  # Slurm has no other word for a script that ends with 143
    status = smtrain("status", run_id, "--json")
    assert status.document["state"] == "stopped"
    assert "saving" in smtrain("logs", run_id).out
    again = smtrain("run", *words, script(COUNTS), "--json")
    assert again.code == 0, again.err
    assert again.document["job"] != job
    assert "going on from step 2" in smtrain("logs", run_id).out


def test_a_run_that_waits_is_stopped_at_once(smtrain, words, slurm_machine) -> None:
    held = ("++backend.begin=now+1hour", "name=held")
    run_id, job = submitted(smtrain, *words, *held, script(WAITS))
    status = smtrain("status", run_id, "--json").document
    assert status["state"] == "running"
    assert "pending" in status["step"]
    smtrain("stop", run_id)
    slurm_machine.until(job, "CANCELLED")
    assert smtrain("status", run_id, "--json").document["state"] == "stopped"


def test_submitting_twice_makes_one_job(smtrain, words, slurm_machine, shared) -> None:
    run_id, job = submitted(smtrain, *words, script(WAITS))
    assert submitted(smtrain, *words, script(WAITS)) == (run_id, job)
    # Nor does it from a machine that knows nothing of the first.
    Path("runs", run_id, "receipt.json").unlink()
    assert submitted(smtrain, *words, script(WAITS)) == (run_id, job)
    # Nor where the answer got lost before it was written down.
    Path("runs", run_id, "receipt.json").unlink()
    (run_on(shared, run_id) / "jobs" / run_id).unlink()
    assert submitted(smtrain, *words, script(WAITS)) == (run_id, job)
    slurm_machine.ask("scancel", job)
    slurm_machine.until(job, "CANCELLED")


def test_before_the_time_limit_it_saves_and_goes_back_into_the_queue(smtrain, words) -> None:
    # Slurm may send the signal a minute early, and for so short a limit it does.
    limit = ("backend.time='1:20'", "backend.requeue.lead_s=70", "backend.grace_s=10")
    answer = smtrain("run", *words, *limit, script(COUNTS))
    assert answer.code == 0, answer.out + answer.err
    assert "back into the queue" in answer.out
    assert answer.out.count("saving") == 2
    assert "going on from step 2" in answer.out


def test_a_time_limit_before_the_first_checkpoint_ends_the_job(smtrain, words) -> None:
    limit = ("backend.time='1:20'", "backend.requeue.lead_s=70", "backend.grace_s=10")
    answer = smtrain("run", *words, *limit, script(WAITS))
    assert answer.code == 1
    assert "the time limit came before a checkpoint" in answer.out
    assert "its time limit is near" in answer.out


def test_a_lost_node_sends_the_job_to_others_where_it_goes_on(smtrain, words, slurm_machine) -> None:
    run_id, job = submitted(smtrain, *words, script(COUNTS))
    until(lambda: "first" in smtrain("logs", run_id).out)
    lost = slurm_machine.ask("scontrol", "show", "hostnames", slurm_machine.field(job, "NodeList")).split()[1]
    try:
        slurm_machine.unplug(lost)
        slurm_machine.until(job, "COMPLETED", timeout_s=120)
    finally:
        slurm_machine.plug_in()
    assert slurm_machine.field(job, "Restarts") == "1"
    # The node that was left may have saved once more.
    assert re.search("going on from step [1-9]", smtrain("logs", run_id).out)
    assert smtrain("status", run_id, "--json").document["state"] == "succeeded"


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("compute.nodes=9", "Partition main has 3 nodes, and the job asks for 9."),
        ("backend.partition=mian", "There is no partition `mian`. Did you mean `main`?"),
        ("backend.account='nobody'", None),
    ],
)
def test_what_the_cluster_does_not_have_is_refused_at_submission(smtrain, words, override, told) -> None:
    answer = smtrain("run", *words, override, script(TRAINS), "--detach")
    if told is None:  # without accounting, Slurm takes any account
        assert answer.code == 0
    else:
        assert answer.code == 5
        assert told in re.sub(r"\s+", " ", answer.err)


def test_more_gpus_than_nodes_have_are_refused_at_submission(smtrain, words) -> None:
    answer = smtrain("run", *words, "compute.accelerator=gpu", "compute.gpus_per_node=16", script(TRAINS), "--detach")
    assert answer.code == 5
    assert "16 GPUs" in answer.err
    assert "the largest has 8" in answer.err


def test_the_doctor_sees_a_cluster_that_is_well(smtrain, words) -> None:
    answer = smtrain("doctor", *words, script(TRAINS))
    assert answer.code == 0, answer.out
    assert "partition main: 3 nodes" in answer.out


def test_the_doctor_sees_what_is_missing(smtrain, words) -> None:
    answer = smtrain("doctor", *words, "backend.partition=other")
    assert answer.code == 5
    assert "There is no partition `other`." in answer.out


def test_a_machine_without_slurm_is_no_login_node(smtrain, words, monkeypatch, tmp_path) -> None:
    empty = tmp_path / "bin"
    empty.mkdir()
    for name in ("bash", "python3", "mkdir", "cat", "flock", "env", "sed"):
        (empty / name).symlink_to(Path("/usr/bin", name))
    monkeypatch.setenv("PATH", str(empty))
    answer = smtrain("run", *words, script(TRAINS), "--detach")
    assert answer.code == 5
    assert "this machine has no `sinfo`" in answer.err


def test_secrets_reach_the_program_and_no_file(smtrain, words, shared, monkeypatch) -> None:
    monkeypatch.setenv("MY_TOKEN", "hunter2-and-more")
    answer = smtrain("run", *words, "secrets.HF_TOKEN=env:MY_TOKEN", script("echo ${#HF_TOKEN} >out/adapter.txt"))
    assert answer.code == 0, answer.out + answer.err
    assert (next(shared.glob("runs/*/output/adapter/adapter.txt"))).read_text() == "16\n"
    for folder in (shared, Path("runs")):
        assert not [path for path in folder.rglob("*") if path.is_file() and b"hunter2" in path.read_bytes()]


def test_a_secret_that_is_not_there_is_told_before_the_job_is_made(smtrain, words, monkeypatch) -> None:
    monkeypatch.delenv("MY_TOKEN", raising=False)
    answer = smtrain("run", *words, "secrets.HF_TOKEN=env:MY_TOKEN", script(TRAINS), "--detach")
    assert answer.code == 5
    assert "secret HF_TOKEN: the environment variable MY_TOKEN is not set" in answer.err
    assert "name a file with it: backend.env_file" in answer.err


def test_what_sbatch_refuses_is_told_with_what_to_do(smtrain, words) -> None:
    answer = smtrain("run", *words, "backend.reservation=nosuch", script(TRAINS), "--detach")
    assert answer.code == 5
    assert "reservation is invalid" in answer.err
    assert "Correct the setting of `backend` that it names" in answer.err


@pytest.mark.parametrize(("mode", "code"), [(0o600, 0), (0o644, 1)])
def test_secrets_of_a_file_are_taken_when_nobody_else_may_read_it(smtrain, words, tmp_path, mode, code) -> None:
    file = tmp_path / "secrets"
    file.write_text("MY_TOKEN='of the file'\n")
    file.chmod(mode)
    named = ("secrets.HF_TOKEN=env:MY_TOKEN", f"++backend.env_file={file}")
    answer = smtrain("run", *words, *named, script('test "$HF_TOKEN" = "of the file"'))
    assert answer.code == code
    assert ("chmod 600" in answer.out) == (code != 0)


def test_a_virtual_environment_is_made_once_and_used_by_all_nodes(smtrain, words, tmp_path) -> None:
    venv = tmp_path / "env"
    text = script(
        'test "$VIRTUAL_ENV/bin/python" = "$(command -v python)" && python -c "import sys; print(sys.prefix)"'
    )
    answer = smtrain("run", *words, f"backend.venv={venv}", text)
    assert answer.code == 0, answer.out + answer.err
    assert answer.out.count(f"{venv}\n") == 2


def test_hostile_values_reach_slurm_as_they_are(smtrain, words, slurm_machine) -> None:
    comment = 'it\'s "$HOME" `id` \\ #no 100% é'
    quoted = comment.replace("'", "\\'")
    run_id, job = submitted(smtrain, *words, f"++backend.sbatch.comment='{quoted}'", script("true"))
    shown = slurm_machine.ask("scontrol", "--oneliner", "show", "job", job)
    assert f"Comment={comment}" in shown
    until(lambda: smtrain("status", run_id, "--json").document["state"] == "succeeded")


def test_nothing_in_the_environment_of_whoever_submits_moves_the_run(smtrain, words, monkeypatch) -> None:
    monkeypatch.setenv("SBATCH_PARTITION", "nowhere")
    monkeypatch.setenv("SLURM_NNODES", "1")
    monkeypatch.setenv("SLURM_MEM_PER_CPU", "1")
    monkeypatch.setenv("SMTRAIN_OUTPUT_DIR", "/nowhere")
    monkeypatch.setenv("SMTRAIN_INPUT_MODEL", "/nowhere")
    answer = smtrain("run", *words, script('test -z "${SMTRAIN_INPUT_MODEL:-}"; echo w >out/adapter.txt'))
    assert answer.code == 0, answer.out + answer.err


def test_a_job_that_slurm_has_forgotten_is_known_by_what_it_wrote_down(smtrain, words, shared) -> None:
    answer = smtrain("run", *words, script("true"), "--json")
    run_id, run = answer.document["run_id"], run_on(shared, answer.document["run_id"])
    receipt = Path("runs", run_id, "receipt.json")
    document = json.loads(receipt.read_text())

    def status() -> dict[str, object]:
        receipt.write_text(json.dumps({**document, "state": "running", "exit_code": None, "job": "4000000"}))
        return dict(smtrain("status", run_id, "--json").document)

    (run / "jobs/4000000.exit_code").write_text("0\n")
    assert status()["state"] == "succeeded"
    (run / "jobs/4000000.exit_code").write_text("3\n")
    assert (status()["state"], status()["exit_code"]) == ("failed", 3)
    (run / "jobs/4000000.exit_code").unlink()
    assert status()["state"] == "lost"


def test_a_run_is_submitted_followed_stopped_and_fetched_over_ssh(
    smtrain, words, slurm_machine, ssh_server, monkeypatch
) -> None:
    monkeypatch.setenv("PATH", ssh_server.environment()["PATH"])
    monkeypatch.delenv("SLURM_CONF")
    profile = ssh_server.profile.read_text()
    ssh_server.profile.write_text(f"{profile}export SLURM_CONF={slurm_machine.conf}\n")
    try:
        answer = smtrain("run", *words, "backend.login=login", script(TRAINS), "--json")
        assert answer.code == 0, answer.out + answer.err
        run_id = answer.document["run_id"]
        assert "training on 1 of 2" in smtrain("logs", run_id).out
        assert smtrain("fetch", run_id, "--model").code == 0
        assert Path("runs", run_id, "output/adapter/adapter.txt").read_text() == "weights\n"
        run_id, _ = submitted(smtrain, *words, "backend.login=login", script(WAITS))
        until(lambda: "ready" in smtrain("logs", run_id).out)
        smtrain("stop", run_id)
        until(lambda: smtrain("status", run_id, "--json").document["state"] == "stopped")
    finally:
        ssh_server.profile.write_text(profile)
