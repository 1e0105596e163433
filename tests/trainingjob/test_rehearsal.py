"""`smtrain rehearse`: what it answers, what it leaves, and how it is ended."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest
from commands import COMMAND
from plain_jobs import BUCKET, TRAINS, TWO, script, start

pytest_plugins = ("plain_account", "plain_trainer")
pytestmark = pytest.mark.usefixtures("plain_trainer")

READS = "echo reads $(cat $SMTRAIN_INPUT_MODEL/config.json); echo weights >out/adapter.txt"


@pytest.fixture
def words(monkeypatch: pytest.MonkeyPatch) -> tuple[str, ...]:
    """The overrides of a job that is never sent: there is no AWS at all."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    return (
        *("backend=trainingjob", "trainer=plain", "model.path=ORG/NAME", "backend.region=us-east-1"),
        *("backend.role=arn:aws:iam::123456789012:role/training", "compute.instance_type=ml.m5.large"),
        *("storage.output=s3://bucket/runs", "backend.checkpoints.interval_s=1", "++launcher.kind=torchrun"),
    )


def rehearsed() -> Path:
    (run_dir,) = Path("runs", ".rehearsals").iterdir()
    return run_dir


def processes_of(folder: Path) -> list[str]:
    """Returns the command lines of the processes that name this folder, or were given it."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        if int(entry.name) == os.getpid():
            continue
        try:
            told = (entry / "cmdline").read_bytes() + b"\0" + (entry / "environ").read_bytes()
        except OSError:
            continue
        if str(folder).encode() in told:
            found.append((entry / "cmdline").read_bytes().replace(b"\0", b" ").decode())
    return found


def test_what_would_be_kept_in_s3_is_kept_here(words, smtrain) -> None:
    answer = smtrain("rehearse", *words, *TWO, script(TRAINS), "--json")
    assert answer.code == 0, answer.out + answer.err
    run_dir = Path(answer.document["run_dir"])
    assert (answer.document["state"], run_dir) == ("succeeded", rehearsed())
    kept = {str(path.relative_to(run_dir / "results")) for path in run_dir.rglob("results/**/*") if path.is_file()}
    assert {"output/adapter/adapter.txt", "checkpoints/adapter/checkpoint-2/state", "progress.jsonl"} <= kept
    assert (run_dir / "results/output/adapter/adapter.txt").read_text() == "weights of 0\n"
    # The run itself was compiled, and not launched.
    assert not (Path("runs") / answer.document["rehearsal_of"] / "receipt.json").exists()
    assert (Path("runs") / answer.document["rehearsal_of"] / "bundle" / "request.json").exists()


def test_a_failing_trainer_fails_the_rehearsal_in_the_words_of_the_service(words, smtrain) -> None:
    answer = smtrain("rehearse", *words, script('echo "ValueError: out of ink" >&2; exit 7'))
    assert answer.code == 1
    assert "failed with exit code 7" in answer.out
    assert "step train failed with exit code 7: ValueError: out of ink" in answer.out
    assert "smtrain submit" not in answer.out


def test_nothing_kept_is_a_failure_too(words, smtrain) -> None:
    answer = smtrain("rehearse", *words, script("true"))
    assert answer.code == 1
    assert "nothing would have been kept" in answer.out


@pytest.mark.parametrize(
    "reads",
    [
        ("trainer.reads=s3://elsewhere/models/tiny",),
        ("trainer.reads=s3://elsewhere/models/tiny", "backend.inputs={model: File}"),
        ('trainer.reads="target:/fsx/it\'s/a}b"',),
    ],
)
def test_a_folder_of_this_machine_stands_in_for_an_input(words, smtrain, reads) -> None:
    Path("tiny").mkdir()
    Path("tiny/config.json").write_text("the stand-in")
    answer = smtrain("rehearse", *words, *reads, script(READS), "--input", "model=tiny")
    assert answer.code == 0, answer.out + answer.err
    assert "reads the stand-in" in answer.out


def test_what_is_on_the_target_alone_is_missed_here(words, smtrain) -> None:
    answer = smtrain("rehearse", *words, 'trainer.reads="target:/fsx/it\'s/a}b"', script(READS))
    assert (answer.code, "there is nothing at /fsx/it's/a}b" in answer.out) == (1, True), answer.out


def test_what_would_stand_in_for_nothing_is_refused(words, smtrain) -> None:
    model = "trainer.reads=s3://elsewhere/models/tiny"
    typo = smtrain("rehearse", *words, model, script(READS), "--input", "modle=.")
    assert (typo.code, "Did you mean `model`?" in typo.err) == (2, True), typo.err
    bundled = smtrain("rehearse", *words, model, script(READS), "--input", "model=.", "--input", "program=.")
    assert (bundled.code, "`--input program`: it travels with the bundle" in bundled.err) == (2, True), bundled.err


@pytest.mark.parametrize("way", ["copy", "File"])
def test_what_nothing_stands_in_for_comes_from_s3(sagemaker, words, smtrain, monkeypatch, way) -> None:
    for name, value in sagemaker.environment().items():
        monkeypatch.setenv(name, value)
    sagemaker.client("s3").put_object(Bucket=BUCKET, Key="models/tiny/config.json", Body=b"the real one")
    sagemaker.client("s3").put_object(Bucket=BUCKET, Key="models/tiny-too/config.json", Body=b"another one")
    model = ("trainer.reads=s3://bucket/models/tiny", f"backend.inputs={{model: {way}}}")
    answer = smtrain("rehearse", *words, *model, script(READS))
    assert answer.code == 0, answer.out + answer.err
    assert "reads the real one" in answer.out
    absent = smtrain("rehearse", *words, "trainer.reads=s3://bucket/models/non", *model[1:], script(READS))
    assert absent.code == 1
    assert "s3://bucket/models/non" in absent.out


def test_an_input_that_is_not_there_ends_it_before_anything_is_compiled(words, smtrain) -> None:
    answer = smtrain("rehearse", *words, script("true"), "--input", "model=nowhere")
    assert (answer.code, "There is no `nowhere`" in answer.err) == (2, True)
    assert not Path("runs").exists()


def test_time_that_is_up_stops_it_and_says_so(words, smtrain) -> None:
    began = time.monotonic()
    answer = smtrain("rehearse", *words, script("echo ready; sleep 600 & wait"), "--timeout", "2")
    assert time.monotonic() - began < 20
    assert answer.code == 130
    assert "stopped" in answer.out
    assert "--timeout" in answer.out
    assert processes_of(rehearsed().absolute()) == []


def test_an_interrupt_lets_the_trainer_save_and_leaves_no_process(words, smtrain) -> None:
    text = "trap 'mkdir out/checkpoint-1; touch out/checkpoint-1/done; exit 0' TERM; echo ready; sleep 600 & wait"
    process = start("rehearse", *words, *TWO, script(text))
    assert process.stdout is not None
    for _ in range(2):
        assert any(line.endswith("ready\n") for line in process.stdout)
    process.send_signal(signal.SIGINT)
    rest, _ = process.communicate(timeout=60)
    assert process.returncode == 130, rest
    assert "stopped" in rest
    run_dir = rehearsed().absolute()
    assert (run_dir / "results/checkpoints/adapter/checkpoint-1/done").exists()
    assert processes_of(run_dir) == []


def test_a_killed_command_leaves_no_process(words, smtrain) -> None:
    process = start("rehearse", *words, script("echo ready; sleep 600 & wait"))
    assert process.stdout is not None
    assert any(line.endswith("ready\n") for line in process.stdout)
    process.kill()
    process.communicate()
    deadline = time.monotonic() + 20
    while processes_of(rehearsed().absolute()):
        assert time.monotonic() < deadline
        time.sleep(0.1)


@pytest.fixture
def no_unshare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine without the program that makes namespaces."""
    programs = tmp_path / "programs"
    programs.mkdir()
    for folder in map(Path, os.environ["PATH"].split(os.pathsep)):
        for each in folder.iterdir() if folder.is_dir() else ():
            if each.name != "unshare" and not (programs / each.name).is_symlink():
                (programs / each.name).symlink_to(each)
    monkeypatch.setenv("PATH", str(programs))


@pytest.mark.usefixtures("no_unshare")
class TestWithoutNamespaces:
    def test_hosts_are_folders(self, words, smtrain) -> None:
        answer = smtrain("rehearse", *words, *TWO, script(f"echo root $SMTRAIN_ML_ROOT; {TRAINS}"))
        assert answer.code == 0, answer.out + answer.err
        hosts = rehearsed().absolute() / "hosts"
        for number in (1, 2):
            assert f"algo-{number}  root {hosts}/algo-{number}/opt/ml\n" in answer.out
        assert (rehearsed() / "results/output/adapter/adapter.txt").read_text() == "weights of 0\n"

    def test_an_interrupt_leaves_no_process(self, words, smtrain) -> None:
        process = start("rehearse", *words, script("setsid sleep 600 & echo ready; wait"))
        assert process.stdout is not None
        assert any(line.endswith("ready\n") for line in process.stdout)
        process.send_signal(signal.SIGINT)
        rest, _ = process.communicate(timeout=60)
        assert process.returncode == 130, rest
        assert processes_of(rehearsed().absolute()) == []

    def test_the_trainers_reason_is_told(self, words, smtrain) -> None:
        answer = smtrain("rehearse", *words, script("echo 'OSError: no ink' >&2; exit 7"))
        assert (answer.code, "failed with exit code 7: OSError: no ink" in answer.out) == (1, True), answer.out


@pytest.mark.needs_program("setpriv")
@pytest.mark.skipif(os.geteuid() != 0, reason="every other test here runs without rights")
def test_root_of_a_container_which_may_not_mount_rehearses(words, smtrain) -> None:
    without = ("setpriv", "--bounding-set=-sys_admin", "--inh-caps=-sys_admin", "--")
    done = subprocess.run(
        (*without, *COMMAND, "rehearse", *words, *TWO, script(TRAINS)), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert (rehearsed() / "results/output/adapter/adapter.txt").read_text() == "weights of 0\n"
