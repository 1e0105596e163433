from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from launching import CHECKPOINTS, dumping, program, python_step, seen

from smtrain import distributed, launch_script, shell
from smtrain.errors import ExitCode, SmtrainError
from smtrain.spec import (
    Concat,
    EnvVar,
    Input,
    InputPath,
    Output,
    OutputKind,
    Program,
    Resume,
    RuntimeVar,
    Scope,
    Staging,
    Step,
    TextFile,
)

HOSTILE = ("", "it's", 'say "hi"', "$(touch pwned)", "`x`", "${HOME}", "a\nb\n", "trailing\\", "*", "~", "-n", "é 漢")


def bindings(run_dir: Path, *, rank: int = 0, resume: str = "auto", more: str = "") -> str:
    """Returns what a backend would bind, for a folder of the test."""
    values = {
        "SMTRAIN_BASE": str(run_dir.parent),
        "SMTRAIN_BUNDLE": str(run_dir / "bundle"),
        "SMTRAIN_RUN_DIR": str(run_dir),
        "SMTRAIN_WORK": str(run_dir / "work"),
        "SMTRAIN_OUTPUT_DIR": str(run_dir / "output"),
        "SMTRAIN_SCRATCH_DIR": str(run_dir / "scratch disk"),
        "SMTRAIN_RESUME": resume,
        "SMTRAIN_NODE_RANK": str(rank),
        "SMTRAIN_PYTHON": sys.executable,
    }
    return "\n".join(f"export {name}={shlex.quote(value)}" for name, value in values.items()) + f"\n{more}"


def lay_out(run_dir: Path, what: Program, *, rank: int = 0, resume: str = "auto", more: str = "") -> Path:
    """Writes the script and the program's files where a backend would, and returns the script's path."""
    for file in what.files:
        path = run_dir / "bundle" / "program" / file.path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(file.text)
    run_dir.joinpath("bundle").mkdir(parents=True, exist_ok=True)
    own = [launch_script.in_place(item) for item in what.inputs if item.staging is Staging.IN_PLACE]
    script = run_dir / "bundle" / "launch.sh"
    script.write_text(
        launch_script.render(what, bindings=bindings(run_dir, rank=rank, resume=resume, more="\n".join([more, *own])))
    )
    return script


def launch(
    run_dir: Path, what: Program, *, rank: int = 0, resume: str = "auto", more: str = ""
) -> subprocess.CompletedProcess[str]:
    """Runs a program's script to its end."""
    script = lay_out(run_dir, what, rank=rank, resume=resume, more=more)
    return subprocess.run(("bash", str(script)), capture_output=True, text=True, check=False)


def test_hostile_arguments_environment_and_file_names_arrive_as_they_are(tmp_path: Path) -> None:
    env = tuple(EnvVar(name=f"V{index}", value=text) for index, text in enumerate(HOSTILE))
    files = (TextFile(path="a dir/$(touch pwned)\n.txt", text="x\\\n"),)
    what = program(dumping(*HOSTILE, to="it's \\"), env=env)
    what = program(*what.steps, env=env, files=(*what.files, *files))
    assert launch(tmp_path / "run", what).returncode == 0
    found = seen(tmp_path / "run", "it's \\")
    assert found["argv"] == list(HOSTILE)
    assert isinstance(found["env"], dict)
    assert [found["env"][variable.name] for variable in env] == list(HOSTILE)
    assert (tmp_path / "run" / "work" / files[0].path).read_text() == "x\\\n"
    assert not list(tmp_path.rglob("pwned"))


@settings(max_examples=10)
@given(text=st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=12))
def test_any_argument_arrives_as_it_is(tmp_path: Path, text: str) -> None:
    run_dir = tmp_path / "run"
    assert launch(run_dir, program(dumping(text, Concat(("--x=", text))))).returncode == 0
    assert seen(run_dir)["argv"] == [text, f"--x={text}"]


@pytest.mark.needs_program("shellcheck")
def test_script_is_clean_under_shellcheck(tmp_path: Path) -> None:
    what = program(
        Step(name="train", argv=(RuntimeVar.PYTHON, *HOSTILE, Resume("--from=$x"), InputPath(name="model"))),
        dumping(scope=Scope.EVERY_NODE),
        env=tuple(EnvVar(name=f"V{index}", value=text) for index, text in enumerate(HOSTILE)),
        inputs=(Input(name="model", uri="it's \\ $(x)", staging=Staging.IN_PLACE, path="model"),),
        outputs=(CHECKPOINTS,),
    )
    script = lay_out(tmp_path / "run", what)
    done = subprocess.run(("shellcheck", str(script)), capture_output=True, text=True, check=False)
    assert done.stdout == ""


def test_steps_run_in_order_in_the_working_directory_with_the_programs_files(tmp_path: Path) -> None:
    what = program(dumping(to="first.json", name="first"), dumping(to="second.json", name="second"))
    done = launch(tmp_path / "run", what)
    assert seen(tmp_path / "run", "first.json")["cwd"] == str(tmp_path / "run" / "work")
    assert seen(tmp_path / "run", "first.json")["files"] == ["dump.py", "first.json"]
    assert seen(tmp_path / "run", "second.json")["files"] == ["dump.py", "first.json", "second.json"]
    assert done.stderr.splitlines() == ["smtrain: step first", "smtrain: step second"]
    assert (tmp_path / "run" / "exit_code").read_text() == "0\n"


@pytest.mark.parametrize("elsewhere", [False, True])
def test_a_programs_library_lies_beside_its_files(tmp_path: Path, *, elsewhere: bool) -> None:
    what = program(dumping())
    library = (TextFile(path="acme/deep/part.py", text="x = 1\n"), TextFile(path="a file.txt", text=""))
    folder = tmp_path / "it's shared" if elsewhere else tmp_path / "run" / "bundle" / "library"
    for file in library:
        (folder / file.path).parent.mkdir(parents=True, exist_ok=True)
        (folder / file.path).write_text(file.text)
    more = f"export SMTRAIN_LIBRARY={shlex.quote(str(folder))}" if elsewhere else ""
    assert launch(tmp_path / "run", replace(what, library=library), more=more).returncode == 0
    found = sorted(
        path.relative_to(tmp_path / "run" / "work").as_posix() for path in (tmp_path / "run" / "work").rglob("*.*")
    )
    assert found == ["a file.txt", "acme/deep/part.py", "dump.py", "seen.json"]


def test_a_failing_step_ends_the_script_with_its_exit_code_and_its_name_recorded(tmp_path: Path) -> None:
    what = program(python_step("raise SystemExit(7)", name="train"), dumping(name="after"))
    done = launch(tmp_path / "run", what)
    assert done.returncode == 7
    assert "step train failed with exit code 7" in done.stderr
    assert (tmp_path / "run" / "step").read_text() == "train\n"
    assert (tmp_path / "run" / "exit_code").read_text() == "7\n"
    assert not (tmp_path / "run" / "work" / "seen.json").exists()


def test_a_step_killed_by_a_signal_gives_the_shells_exit_code(tmp_path: Path) -> None:
    what = program(python_step("import os; os.kill(os.getpid(), 9)"))
    assert launch(tmp_path / "run", what).returncode == 137


def test_steps_of_the_first_node_are_left_out_elsewhere(tmp_path: Path) -> None:
    what = program(dumping(to="first.json", name="first"), dumping(to="every.json", scope=Scope.EVERY_NODE))
    assert launch(tmp_path / "run", what, rank=1).returncode == 0
    work = tmp_path / "run" / "work"
    assert not (work / "first.json").exists()
    assert (work / "every.json").exists()
    assert not (tmp_path / "run" / "exit_code").exists()  # the first node's to write


def test_folders_that_the_program_uses_are_there(tmp_path: Path) -> None:
    what = program(python_step("import os, sys; os.listdir(sys.argv[1])", RuntimeVar.SCRATCH_DIR))
    assert launch(tmp_path / "run", what).returncode == 0


# ----------------------------------------------------------------------------------------------------- inputs, outputs


def in_place(uri: str, path: str = "model") -> Input:
    return Input(name="model", uri=uri, staging=Staging.IN_PLACE, path=path)


@pytest.mark.parametrize("name", ["models", "it's a $(model)\\", "-n"])
def test_a_relative_input_is_relative_to_where_the_user_submitted(tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir()
    (tmp_path / name / "config.json").touch()
    source = "import os, sys; assert os.listdir('deep/er') == os.listdir(sys.argv[1]) == ['config.json']"
    what = program(python_step(source, InputPath(name="model")), inputs=(in_place(name, "deep/er"),))
    assert launch(tmp_path / "run", what).returncode == 0


def test_absolute_and_home_inputs_are_used_as_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "my models").mkdir()
    for uri in (str(tmp_path / "my models"), "~/my models", "~"):
        what = program(python_step("import os; os.listdir('model')"), inputs=(in_place(uri),))
        assert launch(tmp_path / "run", what).returncode == 0


def test_a_missing_input_is_told_before_any_step(tmp_path: Path) -> None:
    done = launch(tmp_path / "run", program(dumping(), inputs=(in_place("no/such\\"),)))
    assert done.returncode == launch_script.MISSING_INPUT
    assert done.stderr == f"smtrain: input model: there is nothing at {tmp_path}/no/such\\\n"
    assert (tmp_path / "run" / "exit_code").read_text() == "66\n"
    assert not (tmp_path / "run" / "work").exists()


def test_outputs_are_kept_under_their_names(tmp_path: Path) -> None:
    nested = Output(name="logs", path="out/logs", kinds=(OutputKind.LOGS,))
    source = "open('out/model', 'w').close(); open('out/logs/log', 'w').close()"
    what = program(python_step(source), outputs=(nested, CHECKPOINTS))
    assert launch(tmp_path / "run", what).returncode == 0
    assert (tmp_path / "run" / "output" / "adapter" / "model").exists()
    assert (tmp_path / "run" / "output" / "logs" / "log").exists()


def test_a_backend_may_keep_an_output_elsewhere(tmp_path: Path) -> None:
    what = program(python_step("open('out/model', 'w').close()"), outputs=(CHECKPOINTS,))
    more = f"{shell.output_variable('adapter')}={shlex.quote(str(tmp_path / 'else where'))}"
    assert launch(tmp_path / "run", what, more=more).returncode == 0
    assert (tmp_path / "else where" / "model").exists()


def test_what_lies_in_the_way_of_a_link_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "run" / "work" / "out").mkdir(parents=True)
    done = launch(tmp_path / "run", program(dumping(), outputs=(CHECKPOINTS,)))
    assert done.returncode == 73
    assert "is in the way" in done.stderr


# --------------------------------------------------------------------------------------------------------- checkpoints


def checkpoint(run_dir: Path, name: str, *, whole: bool = True) -> Path:
    folder = run_dir / "output" / "adapter" / name
    folder.mkdir(parents=True)
    (folder / "weights").touch()
    if whole:
        (folder / "trainer_state.json").touch()
    return folder


def test_the_newest_whole_checkpoint_is_resumed_by_number(tmp_path: Path) -> None:
    run_dir = tmp_path / "a run"
    for number in (20, 100, 120, 9):
        checkpoint(run_dir, f"checkpoint-{number}")
    partial = checkpoint(run_dir, "checkpoint-130", whole=False)
    assert launch(run_dir, program(dumping(Resume("--from=")), outputs=(CHECKPOINTS,))).returncode == 0
    assert seen(run_dir)["argv"] == [f"--from={run_dir}/output/adapter/checkpoint-120"]
    assert not partial.exists()
    assert (run_dir / "output" / "aside-1" / "checkpoint-130" / "weights").exists()


def test_without_a_whole_checkpoint_a_run_starts_afresh_with_empty_outputs(tmp_path: Path) -> None:
    run_dir = tmp_path / "run"
    checkpoint(run_dir, "checkpoint-5", whole=False)
    (run_dir / "output" / "adapter" / "adapter.bin").touch()
    assert launch(run_dir, program(dumping(Resume()), outputs=(CHECKPOINTS,))).returncode == 0
    assert seen(run_dir)["argv"] == []
    assert list((run_dir / "output" / "adapter").iterdir()) == []
    assert (run_dir / "output" / "aside-1" / "adapter" / "adapter.bin").exists()


def test_resume_never_starts_afresh_in_spite_of_a_checkpoint(tmp_path: Path) -> None:
    run_dir = tmp_path / "run"
    checkpoint(run_dir, "checkpoint-5")
    for _ in range(2):
        assert launch(run_dir, program(dumping(Resume()), outputs=(CHECKPOINTS,)), resume="never").returncode == 0
        checkpoint(run_dir, "checkpoint-6")
    assert seen(run_dir)["argv"] == []
    kept = {str(path.relative_to(run_dir / "output")) for path in (run_dir / "output").glob("aside-*/adapter/*")}
    assert kept == {"aside-1/adapter/checkpoint-5", "aside-2/adapter/checkpoint-6"}


def test_a_second_run_in_the_same_folder_works(tmp_path: Path) -> None:
    (tmp_path / "m").mkdir()
    what = program(dumping(), inputs=(in_place("m"),), outputs=(CHECKPOINTS,))
    assert launch(tmp_path / "run", what).returncode == launch(tmp_path / "run", what).returncode == 0


# ------------------------------------------------------------------------------------------------------------- signals

SAVES = """\
import pathlib, signal, sys, time
def save(number, _):
    with open("signals", "a") as file:
        file.write(f"{number} ")
    time.sleep(0.3)
    pathlib.Path("saved").touch()
    sys.exit(0)
signal.signal(signal.SIGTERM, save)
signal.signal(signal.SIGINT, save)
pathlib.Path("ready").touch()
time.sleep(60)
"""


def signalled(run_dir: Path, what: Program, number: signal.Signals, *, more: str = "") -> int:
    """Runs the script, signals it alone once the step is ready, and returns its exit code."""
    script = lay_out(run_dir, what, more=more)
    child = subprocess.Popen(("bash", str(script)), start_new_session=True)
    deadline = time.monotonic() + 20
    while not (run_dir / "work" / "ready").exists():
        assert child.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.02)
    os.kill(child.pid, number)
    return child.wait(20)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_reaches_the_step_once_and_is_waited_for(tmp_path: Path, number: signal.Signals) -> None:
    run_dir = tmp_path / "run"
    assert signalled(run_dir, program(python_step(SAVES), dumping(name="after")), number) == 128 + number
    assert (run_dir / "work" / "saved").exists()
    assert (run_dir / "work" / "signals").read_text() == f"{number.value} "
    assert (run_dir / "exit_code").read_text() == f"{128 + number}\n"
    assert not (run_dir / "work" / "seen.json").exists()


def test_a_signal_reaches_what_the_step_started(tmp_path: Path) -> None:
    nested = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {SAVES!r}])"
    run_dir = tmp_path / "run"
    assert signalled(run_dir, program(python_step(nested)), signal.SIGTERM) == 143
    deadline = time.monotonic() + 10
    while not (run_dir / "work" / "saved").exists():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_step_that_does_not_end_is_killed_after_the_grace(tmp_path: Path) -> None:
    source = SAVES.replace("time.sleep(0.3)", "time.sleep(60)")
    begin = time.monotonic()
    code = signalled(tmp_path / "run", program(python_step(source)), signal.SIGTERM, more="SMTRAIN_GRACE_S=1")
    assert code == 143
    assert 1 <= time.monotonic() - begin < 10
    assert not (tmp_path / "run" / "work" / "saved").exists()


# --------------------------------------------------------------------------------------------------------------- rules


@pytest.mark.parametrize(
    "fields",
    [
        {"files": (TextFile(path="../x", text=""),)},
        {"files": (TextFile(path="/etc/x", text=""),)},
        {"library": (TextFile(path="../x", text=""),)},
        {"library": (TextFile(path="x", text=""),), "files": (TextFile(path="./x", text=""),)},
        {"library": (TextFile(path="model/x", text=""),), "inputs": (in_place("m"),)},
        {"files": (TextFile(path="model/x", text=""),), "inputs": (in_place("m"),)},
        {"inputs": (in_place("m"), in_place("n", "other"))},
        {"inputs": (in_place("m", "out"),), "outputs": (CHECKPOINTS,)},
        {"outputs": (Output(name="a/b", path="x", kinds=()),)},
        {"steps": (dumping(InputPath(name="none")),)},
        {"steps": (dumping(), dumping())},
        {"steps": (dumping(distributed.WORKER),)},
        {"steps": (dumping(name="a\nrm"),)},
    ],
)
def test_a_program_that_no_script_can_run_is_the_plugins_fault(fields: dict[str, object]) -> None:
    with pytest.raises(SmtrainError) as caught:
        launch_script.render(Program(**{"steps": (dumping(),), **fields}), bindings="")  # type: ignore[arg-type]
    assert caught.value.exit_code is ExitCode.BROKEN_PLUGIN


@pytest.mark.parametrize("name", ["UID", "A B", "SMTRAIN_WORK"])
def test_an_environment_variable_that_cannot_be_set_is_the_users_to_mend(name: str) -> None:
    with pytest.raises(SmtrainError) as caught:
        launch_script.render(program(dumping(), env=(EnvVar(name=name, value=""),)), bindings="")
    assert caught.value.problems[0].key == f"env.{name}"
    assert caught.value.exit_code is ExitCode.BAD_CONFIG


def test_a_nul_character_is_refused() -> None:
    assert list(launch_script.problems(program(dumping("a\0b"))))
