"""Runs that go on elsewhere: launched, asked about, followed, left, fetched; through a backend of another package."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from commands import COMMAND, Answer, Smtrain
from terminal import on_terminal

pytest_plugins = ("far_away",)
pytestmark = pytest.mark.usefixtures("afar")

WORDS = ("backend=afar", "model.path=ORG/NAME", "model.template=default", "data=alpaca", "data.path=rows.jsonl")
TWO_HOSTS = "for n in 1 2; do echo one-$n >>algo-1.log; echo two-$n >>algo-2.log; sleep 0.2; done"
LOSSES = "; ".join(
    f"""echo '{{"current_steps": {step}, "total_steps": 2, "loss": {loss}}}' >>metrics"""
    for step, loss in ((1, 2.5), (2, 1.5))
)


def script(text: str) -> str:
    return f"backend.script={json.dumps(text)}"


def waiting(here: Path) -> str:
    """A job that goes on until the file `go` is there."""
    return script(f"echo ready >>algo-1.log; until [[ -e {here}/go ]]; do sleep 0.05; done; echo over >>algo-1.log")


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def receipt(here: Path) -> dict[str, object]:
    (path,) = here.glob("runs/*/receipt.json")
    return json.loads(path.read_text())


def test_a_run_is_followed_until_it_ends_and_each_line_names_its_host(smtrain: Smtrain) -> None:
    answer = smtrain("run", *WORDS, script(TWO_HOSTS))
    assert answer.code == 0, answer.err
    lines = answer.out.splitlines()
    assert [line for line in lines if line.startswith("algo-1")] == ["algo-1  one-1", "algo-1  one-2"]
    assert [line for line in lines if line.startswith("algo-2")] == ["algo-2  two-1", "algo-2  two-2"]
    assert "state      succeeded" in lines
    assert "cost       $3.25" in lines
    assert "job        j-1" in lines


def test_on_a_terminal_each_host_has_a_colour_of_its_own(here: Path) -> None:
    with on_terminal((*COMMAND, "run", *WORDS, script(TWO_HOSTS)), cwd=here, env=environment()) as terminal:
        assert terminal.wait() == 0
    assert "\x1b[36malgo-1\x1b[0m  one-1" in terminal.raw
    assert "\x1b[35malgo-2\x1b[0m  two-2" in terminal.raw


def test_a_run_that_fails_ends_with_one_and_the_targets_reason(here: Path, smtrain: Smtrain) -> None:
    answer = smtrain("run", *WORDS, script("exit 7"))
    assert answer.code == 1
    assert "state      failed with exit code 7: exit code: 7, in the target's words" in answer.out
    assert receipt(here)["state"] == "failed"


def test_the_stage_of_a_job_is_not_said_to_be_the_step_that_failed(here: Path, smtrain: Smtrain) -> None:
    smtrain("run", *WORDS, script("exit 7"))
    answer = smtrain("status", str(receipt(here)["run_id"]))
    assert answer.code == 1
    assert "reason     exit code: 7, in the target's words" in answer.out
    assert "ended with exit code" not in answer.out


def test_the_json_of_a_run_is_one_document(smtrain: Smtrain) -> None:
    document = smtrain("run", *WORDS, script(TWO_HOSTS), "--json").document
    assert (document["state"], document["usd"], document["job"]) == ("succeeded", 3.25, "j-1")


def test_the_metrics_come_here_when_a_run_has_ended(here: Path, smtrain: Smtrain) -> None:
    document = smtrain("run", *WORDS, script(LOSSES), "--json").document
    rows = (here / document["outputs"]["metrics"]).read_text().splitlines()
    assert [json.loads(row)["loss"] for row in rows] == [2.5, 1.5]


def test_detached_it_comes_back_at_once_and_can_be_looked_after(here: Path, smtrain: Smtrain) -> None:
    answer = smtrain("run", *WORDS, waiting(here), "--detach")
    assert answer.code == 0
    run_id = str(receipt(here)["run_id"])
    assert f"follow     smtrain logs {run_id} -f" in answer.out
    until(lambda: smtrain("logs", run_id).out == "algo-1  ready\n")
    assert f"{run_id}  running    afar" in smtrain("ps").out
    assert "$1.50 so far" in smtrain("ps").out
    status = smtrain("status", run_id)
    assert (status.code, "stage      Training" in status.out) == (0, True)
    assert smtrain("stop", run_id).out == f"{run_id}: was asked to end, and is at it\n"
    (here / "go").touch()
    until(lambda: smtrain("status", run_id, "--json").document["state"] == "succeeded")
    assert "$3.25\n" in smtrain("ps").out


def test_launched_again_what_goes_on_is_followed_and_not_handed_over_twice(here: Path, smtrain: Smtrain) -> None:
    smtrain("run", *WORDS, waiting(here), "-d")
    until(lambda: list(here.glob("runs/*/far/algo-1.log")))
    command = (*COMMAND, "run", *WORDS, waiting(here))
    with subprocess.Popen(command, cwd=here, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        said = []
        for line in process.stdout:
            said.append(line)
            if line == "algo-1  ready\n":
                (here / "go").touch()
    answer = Answer(code=process.returncode, out="".join(said), err="")
    assert answer.code == 0
    assert "is going already" in answer.out
    assert answer.out.count("algo-1  ready") == 1
    assert answer.out.count("algo-1  over") == 1


def test_an_interrupt_leaves_the_job_alone_and_says_how_to_come_back(here: Path, smtrain: Smtrain) -> None:
    command = (*COMMAND, "run", *WORDS, waiting(here))
    with subprocess.Popen(command, cwd=here, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert any(line == "algo-1  ready\n" for line in process.stdout)
        process.send_signal(signal.SIGINT)
        rest, errors = process.stdout.read(), process.stderr.read()
    assert (process.returncode, errors) == (130, "")
    run_id = str(receipt(here)["run_id"])
    assert f"{run_id} goes on without you." in rest
    assert f"smtrain logs {run_id} -f" in rest
    assert f"smtrain stop {run_id}" in rest
    assert smtrain("status", run_id, "--json").document["state"] == "running"
    (here / "go").touch()
    until(lambda: smtrain("status", run_id, "--json").document["state"] == "succeeded")


def test_a_reader_that_leaves_does_not_end_the_watch(here: Path) -> None:
    command = (*COMMAND, "run", *WORDS, waiting(here))
    process = subprocess.Popen(command, cwd=here, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert any(line == "algo-1  ready\n" for line in process.stdout)
    process.stdout.close()
    (here / "go").touch()
    assert process.wait(60) == 0
    assert receipt(here)["state"] == "succeeded"


def test_the_status_of_a_failed_run_shows_its_reason_and_the_last_lines_of_all_hosts(smtrain: Smtrain) -> None:
    text = "for n in {1..30}; do echo line $n >>algo-1.log; done; echo alas >>algo-2.log; exit 3"
    run_id = smtrain("run", *WORDS, script(text), "--json").document["run_id"]
    answer = smtrain("status", run_id)
    assert answer.code == 1
    assert "reason     exit code: 3, in the target's words" in answer.out
    log = answer.out.partition("log        ")[2].splitlines()
    assert len(log) == 20
    assert log[-1].strip() == "algo-2  alas"


def test_ps_shows_what_it_last_knew_of_a_run_whose_backend_sees_nothing(
    here: Path,
    afar: Path,
    smtrain: Smtrain,
) -> None:
    smtrain("run", *WORDS, waiting(here), "-d")
    (here / "go").touch()
    text = (afar / "afar_plugin.py").read_text()
    refused = '        raise fail("The target is not to be reached.", code=ExitCode.REMOTE_REFUSED)\n'
    (afar / "afar_plugin.py").write_text(
        text.replace("def status(self, run_dir, receipt):\n", f"def status(self, run_dir, receipt):\n{refused}")
    )
    command = (*COMMAND, "ps")
    done = subprocess.run(command, cwd=here, capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert "running    afar" in done.stdout
    assert "The target is not to be reached." in done.stderr


class TestFetch:
    def test_model_and_metrics_unless_told_otherwise(self, here: Path, smtrain: Smtrain) -> None:
        document = smtrain("run", *WORDS, script(f"{LOSSES}; echo m >model; echo c >checkpoints"), "--json").document
        run_dir = here / document["run_dir"]
        (run_dir / "metrics.jsonl").unlink()
        assert not (run_dir / "output").exists()
        found = smtrain("fetch", document["run_id"], "--json").document["fetched"]
        assert [Path(path).name for path in found] == ["model", "trainer_log.jsonl"]
        assert (run_dir / "output" / "model").read_text() == "m\n"
        assert len((run_dir / "metrics.jsonl").read_text().splitlines()) == 2
        assert smtrain("fetch", document["run_id"], "--checkpoints").code == 0
        assert (run_dir / "output" / "checkpoints").exists()

    def test_only_what_is_asked_for(self, here: Path, smtrain: Smtrain) -> None:
        document = smtrain("run", *WORDS, script("echo m >model; echo c >checkpoints"), "--json").document
        smtrain("fetch", document["run_id"], "--checkpoints")
        assert [path.name for path in (here / document["run_dir"] / "output").iterdir()] == ["checkpoints"]

    def test_nothing_there_is_an_error(self, smtrain: Smtrain) -> None:
        run_id = smtrain("run", *WORDS, "--json").document["run_id"]
        answer = smtrain("fetch", run_id)
        assert answer.code == 5
        assert "has left nothing of that so far: model, metrics" in answer.err

    def test_a_run_of_this_machine_has_nothing_to_fetch(self, here: Path, smtrain: Smtrain) -> None:
        words = [word for word in WORDS if not word.startswith("backend=")]
        run_dir = here / smtrain("plan", *words, "--json").document["run_dir"]
        (run_dir / "receipt.json").write_text(
            json.dumps({"run_id": run_dir.name, "backend": "local", "state": "succeeded"})
        )
        answer = smtrain("fetch", run_dir.name)
        assert answer.code == 2
        assert "There is nothing to fetch" in answer.err


class TestDoctor:
    def test_what_is_as_it_must_be_ends_with_zero(self, here: Path, smtrain: Smtrain) -> None:
        answer = smtrain("doctor", *WORDS)
        assert answer.code == 0
        assert "✓ role               It is there." in answer.out
        assert "? quota              It could not be looked at." in answer.out
        assert "Allow it." in answer.out
        assert "0 to be mended, 1 not seen, 2 as they must be" in answer.out
        assert not (here / "runs").exists()

    def test_what_is_bad_ends_with_five_and_says_what_to_do(self, smtrain: Smtrain) -> None:
        answer = smtrain("doctor", *WORDS, "backend.healthy=false")
        assert answer.code == 5
        assert "✗ image              It was looked for." in answer.out
        assert "Push it." in answer.out

    def test_without_credentials_it_ends_with_four(self, smtrain: Smtrain) -> None:
        answer = smtrain("doctor", *WORDS, script("no credentials"))
        assert (answer.code, "Get some." in answer.err) == (4, True)

    def test_json_has_every_finding(self, smtrain: Smtrain) -> None:
        document = smtrain("doctor", *WORDS, "--json").document
        assert [(row["subject"], row["good"]) for row in document] == [("role", True), ("quota", None), ("image", True)]

    def test_a_wrong_configuration_ends_with_two_before_anything_is_looked_at(self, smtrain: Smtrain) -> None:
        answer = smtrain("doctor", *WORDS, "backend.helthy=true")
        assert (answer.code, answer.out) == (2, "")

    def test_a_backend_without_a_target_says_so(self, smtrain: Smtrain) -> None:
        answer = smtrain("doctor", *WORDS[1:])
        assert answer.code == 2
        assert "`local` has nothing to be looked at" in answer.err


class TestCost:
    PRICE = ("backend.usd_per_hour=6.43",)

    def test_the_plan_tells_it(self, smtrain: Smtrain) -> None:
        answer = smtrain("plan", *WORDS, *self.PRICE)
        assert "cost       $6.43/hour, at most $12.86 (2 h); the test's price" in answer.out
        assert "hosts      2 × far away" in answer.out
        document = smtrain("plan", *WORDS, *self.PRICE, "--json").document
        assert document["cost"] == {"usd_per_hour": 6.43, "max_hours": 2.0, "basis": "the test's price"}
        assert document["facts"] == [{"title": "hosts", "text": "2 × far away"}]

    @pytest.mark.parametrize("words", [(), ("--yes",)])
    def test_a_pipe_is_not_asked(self, words: tuple[str, ...], smtrain: Smtrain) -> None:
        answer = smtrain("run", *WORDS, *self.PRICE, *words)
        assert (answer.code, "Launch?" in answer.out) == (0, False)

    @pytest.mark.parametrize(("typed", "launched"), [("y\n", True), ("YES\n", True), ("n\n", False), ("\n", False)])
    def test_a_person_is_asked_once(self, typed: str, launched: bool, here: Path) -> None:
        with on_terminal((*COMMAND, "run", *WORDS, *self.PRICE), cwd=here, env=environment()) as terminal:
            terminal.read_until("$6.43/hour", "Launch? [y/N]")
            terminal.type(typed)
            code = terminal.wait()
        assert terminal.text.count("Launch?") == 1
        assert terminal.text.count("$6.43/hour") == 1
        assert (code, bool(list(here.glob("runs/*/far")))) == ((0, True) if launched else (130, False))
        assert ("nothing was launched" in terminal.text) is not launched

    def test_the_end_of_input_is_a_no(self, here: Path) -> None:
        with on_terminal((*COMMAND, "run", *WORDS, *self.PRICE), cwd=here, env=environment()) as terminal:
            terminal.read_until("Launch? [y/N]")
            terminal.type("\x04")
            assert terminal.wait() == 130

    @pytest.mark.parametrize(
        ("words", "more"), [(("--yes", *PRICE), {}), (PRICE, {"CI": "true"}), ((), {}), ((*PRICE, "--json"), {})]
    )
    def test_whoever_said_yes_is_not_asked_nor_is_what_costs_nothing(
        self, words: tuple[str, ...], more: dict[str, str], here: Path
    ) -> None:
        command = (*COMMAND, "run", *WORDS, *words)
        with on_terminal(command, cwd=here, env={**environment(), **more}) as terminal:
            assert terminal.wait() == 0
        assert "Launch?" not in terminal.text

    def test_a_planned_bundle_is_asked_about_too(self, here: Path, smtrain: Smtrain) -> None:
        run_dir = smtrain("plan", *WORDS, *self.PRICE, "--json").document["run_dir"]
        with on_terminal((*COMMAND, "submit", run_dir), cwd=here, env=environment()) as terminal:
            terminal.read_until("$6.43/hour", "Launch? [y/N]")
            terminal.type("n\n")
            assert terminal.wait() == 130

    def test_a_sweep_is_asked_once_for_all_of_it(self, here: Path) -> None:
        command = (*COMMAND, "-m", *WORDS, *self.PRICE, "seed=1,2,3")
        with on_terminal(command, cwd=here, env=environment()) as terminal:
            terminal.read_until("$19.29/hour for 3 runs, at most $38.58 (2 h)", "Launch? [y/N]")
            terminal.type("y\n")
            assert terminal.wait() == 0
        assert terminal.text.count("Launch?") == 1
        assert len(list(here.glob("runs/*/far"))) == 3

    def test_a_sweep_that_is_declined_launches_nothing(self, here: Path) -> None:
        command = (*COMMAND, "-m", *WORDS, *self.PRICE, "seed=1,2")
        with on_terminal(command, cwd=here, env=environment()) as terminal:
            terminal.read_until("Launch? [y/N]")
            terminal.type("n\n")
            assert terminal.wait() == 130
        assert not list(here.glob("runs/*/far"))


def environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name not in ("CI", "NO_COLOR")} | {"TERM": "vt100"}


class TestSweep:
    def test_every_point_is_submitted_and_none_is_waited_for(self, here: Path, smtrain: Smtrain) -> None:
        answer = smtrain("-m", *WORDS, waiting(here), "seed=1,2,3")
        assert answer.code == 0, answer.err
        states = [row["state"] for row in smtrain("ps", "--json").document]
        assert states == ["running"] * 3
        (here / "go").touch()
        until(lambda: {row["state"] for row in smtrain("ps", "--json").document} == {"succeeded"})

    def test_an_objective_makes_it_wait_for_each(self, here: Path, smtrain: Smtrain) -> None:
        answer = smtrain("-m", *WORDS, script(f"sleep 0.3; {LOSSES}"), "seed=1,2", "objective=loss")
        assert answer.code == 0, answer.err
        assert [row["state"] for row in smtrain("ps", "--json").document] == ["succeeded"] * 2
        assert len(list(here.glob("runs/*/metrics.jsonl"))) == 2

    def test_a_point_that_fails_is_told_with_its_reason(self, smtrain: Smtrain) -> None:
        answer = smtrain("-m", *WORDS, script("exit 7"), "seed=1,2", "objective=loss")
        assert answer.code == 1
        assert "exit code: 7, in the target's words" in answer.err


@pytest.mark.parametrize("verb", ["doctor", "rehearse", "explain"])
def test_a_verb_that_takes_one_configuration_refuses_a_sweep(verb: str, smtrain: Smtrain) -> None:
    answer = smtrain(verb, "-m", *WORDS, "seed=1,2")
    assert answer.code == 2
    assert f"{verb} takes one" in answer.err


class TestRehearse:
    WORDS = (*WORDS, "compute=cpu")

    def test_it_runs_a_shortened_bundle_apart_from_the_runs(self, here: Path, smtrain: Smtrain) -> None:
        answer = smtrain("rehearse", *self.WORDS, script("echo $PWD"), "--timeout", "9")
        assert answer.code == 0, answer.err
        (folder,) = here.glob("runs/.rehearsals/*")
        assert (folder / "bundle" / "manifest.json").is_file()
        (planned,) = here.glob("runs/smtrain-*")
        assert folder.name != planned.name
        assert f"rehearsed as {folder.name}" in answer.out
        assert "rehearsing [] 9 False" in answer.out
        assert "resume never" in answer.out
        assert "trainer.args.max_steps=3" in answer.out
        assert "differs    changed program/train.yaml" in answer.out
        assert f"launch     smtrain submit runs/{planned.name}" in answer.out
        assert "max_steps: 3" in (folder / "bundle" / "program" / "train.yaml").read_text()
        assert "max_steps" not in (planned / "bundle" / "program" / "train.yaml").read_text()
        assert smtrain("ps").out == "no runs in runs\n"

    def test_so_many_steps_as_are_asked_for(self, here: Path, smtrain: Smtrain) -> None:
        assert smtrain("rehearse", *self.WORDS, "--steps", "2").code == 0
        (config,) = here.glob("runs/.rehearsals/*/bundle/program/train.yaml")
        assert "max_steps: 2" in config.read_text()

    def test_a_run_for_gpus_goes_on_cpus_where_there_are_none(
        self, here: Path, smtrain: Smtrain, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
        words = (*WORDS, "compute=gpu", "compute.gpus_per_node=8", "strategy=ddp")
        words += ("micro_batch_size=1", "gradient_accumulation_steps=1", "global_batch_size=8")
        answer = smtrain("rehearse", *words)
        assert answer.code == 0, answer.err
        assert "This machine has no GPU" in answer.out
        assert "compute.processes_per_node=2" in answer.out
        document = smtrain("rehearse", *words, "--json").document
        assert document["rehearsal_of"] != document["run_id"]

    def test_what_an_earlier_rehearsal_left_is_gone(self, here: Path, smtrain: Smtrain) -> None:
        words = ("rehearse", *self.WORDS, script("[[ ! -e old ]] && touch old"))
        assert smtrain(*words).code == 0
        assert smtrain(*words).code == 0

    def test_a_rehearsal_that_fails_ends_with_one_and_the_reason(self, smtrain: Smtrain) -> None:
        answer = smtrain("rehearse", *self.WORDS, script("exit 9"))
        assert answer.code == 1
        assert "rehearsal  failed with exit code 9: AlgorithmError" in answer.out
        assert "launch " not in answer.out

    def test_inputs_stand_in_by_name(self, here: Path, smtrain: Smtrain) -> None:
        answer = smtrain("rehearse", *self.WORDS, "--input", "model=.", "--input", "b=rows.jsonl", "--docker")
        assert "rehearsing ['b', 'model'] 600 True" in answer.out

    @pytest.mark.parametrize(("word", "said"), [("model", "NAME=PATH"), ("=x", "NAME=PATH"), ("a=nowhere", "nowhere")])
    def test_inputs_that_are_none_are_told(self, word: str, said: str, here: Path, smtrain: Smtrain) -> None:
        answer = smtrain("rehearse", *self.WORDS, "--input", word)
        assert (answer.code, said in answer.err) == (2, True)
        assert not (here / "runs").exists()

    def test_the_errors_of_the_real_bundle_are_told(self, smtrain: Smtrain) -> None:
        answer = smtrain("rehearse", *self.WORDS, "trainer.args.learing_rate=1")
        assert answer.code == 2
        assert "learing_rate" in answer.err

    def test_a_backend_without_rehearsals_says_so(self, smtrain: Smtrain) -> None:
        answer = smtrain("rehearse", *WORDS[1:])
        assert answer.code == 2
        assert "`local` cannot be rehearsed" in answer.err

    @pytest.mark.parametrize("words", [("--steps", "0"), ("--steps", "many"), ("--timeout", "-1")])
    def test_a_number_that_is_none_is_refused(self, words: tuple[str, ...], smtrain: Smtrain) -> None:
        with pytest.raises(SystemExit) as ended:
            smtrain("rehearse", *self.WORDS, *words)
        assert ended.value.code == 2


@pytest.mark.parametrize("verb", ["rehearse", "run"])
def test_help_tells_the_flags_of_a_verb(verb: str, smtrain: Smtrain) -> None:
    answer = smtrain(verb, "--help")
    assert answer.code == 0
    assert f"Flags of {verb}:" in answer.out
    assert ("--timeout S" in answer.out) is (verb == "rehearse")


def test_every_python_of_the_tests_finds_the_backend(here: Path) -> None:
    command = (sys.executable, "-m", "smtrain.cli", "plugins")
    assert "afar 1.0" in subprocess.run(command, cwd=here, capture_output=True, text=True, check=True).stdout
