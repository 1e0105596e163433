from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from launching import CHECKPOINTS, dumping, environment, job, program, python_step, seen, write
from smtrain_local.backend import LocalBackend, LocalOptions

from smtrain.spec import (
    EnvVar,
    Exec,
    Input,
    InputPath,
    Job,
    LocalFile,
    Needs,
    Package,
    Program,
    RuntimeVar,
    Staging,
    Step,
    TextFile,
)


def local_file(path: Path, text: str) -> LocalFile:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return LocalFile(path=path, sha256=hashlib.sha256(text.encode()).hexdigest(), size=len(text))


def lower(run_dir: Path, what: Program, the_job: Job | None = None, options: LocalOptions | None = None) -> Path:
    the_job, options = the_job or job(), options or LocalOptions()
    assert list(LocalBackend().check(the_job, what, options)) == []
    return write(LocalBackend().lower(the_job, what, options), run_dir)


def launch(run_dir: Path, **more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ("bash", "launch.sh"),
        cwd=run_dir / "bundle",
        env=environment(run_dir.parent, **more),
        capture_output=True,
        text=True,
        check=False,
    )


# ----------------------------------------------------------------------------------------------------------- the bundle


def test_bundle_is_the_script_the_program_and_its_local_inputs(tmp_path: Path) -> None:
    rows = Input(
        name="rows", uri="rows.jsonl", staging=Staging.BUNDLED, path="data/rows.jsonl",
        files=(local_file(tmp_path / "rows.jsonl", "{}\n"),),
    )  # fmt: skip
    what = program(dumping(), inputs=(rows,), files=(TextFile(path="a/b.yaml", text="x: 1\n"),))
    bundle = LocalBackend().lower(job(), what, LocalOptions())
    assert [file.path for file in bundle.files] == ["launch.sh", "program/a/b.yaml", "inputs/rows/rows.jsonl"]
    assert [file.executable for file in bundle.files] == [True, False, False]
    assert bundle.actions == (Exec(argv=("bash", "launch.sh"), workload=True),)


def test_bundle_holds_no_path_of_this_machine(tmp_path: Path) -> None:
    rows = Input(
        name="rows", uri="rows.jsonl", staging=Staging.BUNDLED, path="rows.jsonl",
        files=(local_file(tmp_path / "rows.jsonl", "{}\n"),),
    )  # fmt: skip
    bundle = LocalBackend().lower(job(accelerator="auto"), program(dumping(), inputs=(rows,)), LocalOptions())
    script = bundle.files[0].content
    assert isinstance(script, bytes)
    for text in (str(tmp_path), sys.executable, os.uname().nodename):
        assert text.encode() not in script


@pytest.mark.needs_program("shellcheck")
@pytest.mark.parametrize("accelerator", ["cpu", "auto", "gpu"])
@pytest.mark.parametrize("options", [LocalOptions(), LocalOptions(python="~/my env/bin/python", gpus=(0, 1))])
def test_script_is_clean_under_shellcheck(tmp_path: Path, accelerator: str, options: LocalOptions) -> None:
    the_job = job(accelerator=accelerator, output="~/it's", secrets={"TOKEN": "env:MY_TOKEN"}, env={"A": "$(x)'\\"})
    model = Input(name="model", uri="m", staging=Staging.IN_PLACE, path="model")
    every = Step(name="every", argv=("echo", *RuntimeVar))
    run_dir = lower(tmp_path / "run", program(every, inputs=(model,), outputs=(CHECKPOINTS,)), the_job, options)
    done = subprocess.run(("shellcheck", "bundle/launch.sh"), cwd=run_dir, capture_output=True, text=True, check=False)
    assert done.stdout == ""


# ------------------------------------------------------------------------------------------------------------- the run


def test_every_runtime_variable_has_a_value(tmp_path: Path) -> None:
    run_dir = lower(tmp_path / "run", program(dumping(*RuntimeVar)), job(processes=2))
    assert launch(run_dir).returncode == 0
    values = seen(run_dir)["argv"]
    assert isinstance(values, list)
    found = dict(zip((variable.value for variable in RuntimeVar), values, strict=True))
    port = found.pop("MASTER_PORT")
    assert 1024 < int(port) < 65536
    assert found == {
        "PYTHON": sys.executable,
        "NODE_RANK": "0",
        "NUM_NODES": "1",
        "MASTER_ADDR": "127.0.0.1",
        "PROCS_PER_NODE": "2",
        "MODEL_DIR": f"{run_dir}/output/model",
        "CHECKPOINT_DIR": f"{run_dir}/output/checkpoints",
        "OUTPUT_DIR": f"{run_dir}/output",
        "SCRATCH_DIR": f"{run_dir}/scratch",
    }


@settings(max_examples=8)
@given(text=st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=12))
def test_any_text_arrives_in_arguments_and_environment(tmp_path: Path, text: str) -> None:
    run_dir = lower(
        tmp_path / "run",
        program(dumping(text), env=(EnvVar(name="A", value=text), EnvVar(name="B", value=text))),
        job(),
    )
    assert launch(run_dir).returncode == 0
    found = seen(run_dir)
    assert isinstance(found["env"], dict)
    assert (found["argv"], found["env"]["A"], found["env"]["B"]) == ([text], text, text)


def test_bundled_inputs_lie_where_the_program_expects_them(tmp_path: Path) -> None:
    one = Input(
        name="one", uri="x", staging=Staging.BUNDLED, path="data/it's one.jsonl",
        files=(local_file(tmp_path / "src" / "$(x) .jsonl", "1"),),
    )  # fmt: skip
    files = tuple(local_file(tmp_path / "src" / name, name) for name in ("a", "b"))
    many = Input(name="many", uri="y", staging=Staging.BUNDLED, path="data/many", files=files)
    source = """\
import os, pathlib, sys
assert pathlib.Path("data/it's one.jsonl").read_text() == "1" == pathlib.Path(sys.argv[1]).read_text()
assert sorted(os.listdir("data/many")) == sorted(os.listdir(sys.argv[2])) == ["a", "b"]
"""
    what = program(python_step(source, InputPath(name="one"), InputPath(name="many")), inputs=(one, many))
    done = launch(lower(tmp_path / "run", what))
    assert done.returncode == 0, done.stderr


def test_results_asked_for_elsewhere_get_a_folder_of_the_runs_name(tmp_path: Path) -> None:
    what = program(python_step("open('out/model', 'w').close()"), outputs=(CHECKPOINTS,))
    run_dir = lower(tmp_path / "run-1", what, job(output="my results/$(x)"))
    assert launch(run_dir).returncode == 0
    assert (tmp_path / "my results" / "$(x)" / "run-1" / "adapter" / "model").exists()
    assert (run_dir / "output" / "adapter" / "model").exists()


def test_the_interpreter_of_the_options_is_used_and_its_programs_are_found(tmp_path: Path) -> None:
    bin_dir = tmp_path / "an env" / "bin"
    bin_dir.mkdir(parents=True)
    (bin_dir / "python").symlink_to(sys.executable)
    (bin_dir / "ninja").write_text("#!/bin/sh\n")
    (bin_dir / "ninja").chmod(0o755)
    source = f"import shutil; assert shutil.which('ninja') == {str(bin_dir / 'ninja')!r}"
    run_dir = lower(tmp_path / "run", program(python_step(source)), options=LocalOptions(python="an env/bin/python"))
    done = launch(run_dir)
    assert done.returncode == 0, done.stderr


def test_a_missing_interpreter_is_told(tmp_path: Path) -> None:
    done = launch(lower(tmp_path / "run", program(dumping()), options=LocalOptions(python="no/python")))
    assert done.returncode == 69
    assert f"there is no interpreter {tmp_path}/no/python: set backend.python" in done.stderr


def test_what_the_interpreter_lacks_is_told_before_the_first_step(tmp_path: Path) -> None:
    wanted = (Package(name="no-such-package"), Package(name="pytest", specifier="==0.1"), Package(name="msgspec"))
    run_dir = lower(tmp_path / "run", program(dumping(), needs=Needs(packages=wanted)))
    done = launch(run_dir)
    assert done.returncode == 69
    assert "smtrain: no-such-package is not installed; pytest is " in done.stderr
    assert "msgspec" not in done.stderr
    assert not (run_dir / "step").exists()


def test_a_secret_comes_from_the_environment_and_is_nowhere_else(tmp_path: Path) -> None:
    source = "import os; assert os.environ['HF_TOKEN'] == 'hu' + 'sh $x'"
    run_dir = lower(tmp_path / "run", program(python_step(source)), job(secrets={"HF_TOKEN": "env:MY_TOKEN"}))
    done = launch(run_dir, MY_TOKEN="hush $x")
    assert (done.returncode, "hush" in done.stdout + done.stderr) == (0, False)
    assert not [path for path in run_dir.rglob("*") if path.is_file() and b"hush" in path.read_bytes()]


def test_a_missing_secret_is_told_before_any_step(tmp_path: Path) -> None:
    done = launch(lower(tmp_path / "run", program(dumping()), job(secrets={"HF_TOKEN": "env:NO_SUCH_TOKEN"})))
    assert done.returncode == 78
    assert "the environment variable NO_SUCH_TOKEN is not set here" in done.stderr


@pytest.mark.parametrize(
    ("specifier", "version", "will_do"),
    [
        (">=2.4", "2.4", True),
        (">=2.4", "2.4.0", True),
        (">=2.4.0", "2.4", True),
        (">=2.4", "2.13.0+cpu", True),
        (">=2.4", "10.0", True),
        (">=2.4", "2.4.0a0+f70bd71a48.nv24.6", True),  # a vendor's build of what became 2.4
        (">=2.4", "2.3.1+cu121", False),
        (">=2.4", "2", False),
        (">=1.1.6", "1.1.10", True),
        ("==2.4.0", "2.4.0+cu121", True),
        ("==2.4.0", "2.4.1", False),
        ("", "0.1", True),
    ],
)
def test_the_version_of_a_package_is_looked_at_before_the_first_step(
    tmp_path: Path, specifier: str, version: str, will_do: bool
) -> None:
    installed = tmp_path / "site" / "a_package-0.dist-info"
    installed.mkdir(parents=True)
    (installed / "METADATA").write_text(f"Metadata-Version: 2.1\nName: a-package\nVersion: {version}\n")
    needs = Needs(packages=(Package(name="a-package", specifier=specifier),))
    done = launch(lower(tmp_path / "run", program(dumping(), needs=needs)), PYTHONPATH=str(tmp_path / "site"))
    assert done.returncode == (0 if will_do else 69), done.stderr
    assert (f"a-package is {version}, " in done.stderr) is not will_do


def test_cores_are_shared_among_the_processes(tmp_path: Path) -> None:
    run_dir = lower(tmp_path / "run", program(dumping()), job(processes=10_000))
    assert launch(run_dir).returncode == 0
    env = seen(run_dir)["env"]
    assert isinstance(env, dict)
    assert env["OMP_NUM_THREADS"] == "1"


def test_the_users_number_of_threads_is_kept(tmp_path: Path) -> None:
    run_dir = lower(tmp_path / "run", program(dumping()))
    assert launch(run_dir, OMP_NUM_THREADS="3").returncode == 0
    env = seen(run_dir)["env"]
    assert isinstance(env, dict)
    assert env["OMP_NUM_THREADS"] == "3"


# ------------------------------------------------------------------------------------------------------------- refusals


def problems(what: Program, the_job: Job | None = None, options: LocalOptions | None = None) -> dict[str, str]:
    found = LocalBackend().check(the_job or job(), what, options or LocalOptions())
    return {problem.key: str(problem) for problem in found}


def test_several_nodes_are_refused() -> None:
    assert "one node, not 2" in problems(program(dumping()), job(nodes=2))["compute.nodes"]


def test_an_s3_output_is_refused() -> None:
    assert "s3://b/k" in problems(program(dumping()), job(output="s3://b/k"))["storage.output"]


@pytest.mark.parametrize("staging", [Staging.COPY, Staging.IN_PLACE])
def test_an_s3_input_is_refused_with_what_to_do(staging: Staging) -> None:
    model = Input(name="model", uri="s3://b/model", staging=staging, path="model")
    assert "aws s3 sync" in problems(program(dumping(), inputs=(model,)))["backend"]


def test_fewer_gpus_than_processes_are_refused() -> None:
    options = LocalOptions(gpus=(0, 0))
    assert "backend.gpus" in problems(program(dumping()), job(processes=2, accelerator="auto"), options)
    assert problems(program(dumping()), job(processes=2, accelerator="cpu"), options) == {}


def test_a_secret_from_elsewhere_is_refused() -> None:
    for reference in ("secretsmanager:prod/wandb#key", "ssm:/team/token"):
        told = problems(program(dumping()), job(secrets={"T": reference}))["secrets.T"]
        assert f"cannot look up the secret '{reference}'" in told
        assert "env:NAME" in told


def test_files_of_one_name_in_one_input_are_refused(tmp_path: Path) -> None:
    files = (local_file(tmp_path / "a" / "x", "1"), local_file(tmp_path / "b" / "x", "2"))
    item = Input(name="rows", uri="r", staging=Staging.BUNDLED, path="rows", files=files)
    assert "2 files of the name 'x'" in problems(program(dumping(), inputs=(item,)))["data"]
