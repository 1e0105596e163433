"""The rehearsal engine with real processes, both with namespaces and without."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tarfile
import tempfile
import textwrap
import threading
import time
from pathlib import Path

import pytest
from smtrain_trainingjob.rehearsal import docker, folders, namespaces
from smtrain_trainingjob.rehearsal.channel import Channel, TransferFailed, path_below
from smtrain_trainingjob.rehearsal.engine import JobRun
from smtrain_trainingjob.rehearsal.hosts import Host, hosts_file
from smtrain_trainingjob.rehearsal.isolation import Mount
from smtrain_trainingjob.rehearsal.outcome import Phase, Status
from smtrain_trainingjob.rehearsal.results import CheckpointFolder

from smtrain.plugin import SmtrainError

PATH = f"{Path(sys.executable).parent}:/usr/local/bin:/usr/bin:/bin"
HOSTILE = "a b'c\"d $(touch /tmp/never) `x` \\ \n\tü * ; & | \\"


@pytest.fixture(params=["namespaces", "folders"])
def isolation(request):
    if request.param == "folders":
        return folders.Folders()
    return _namespaces()


def _namespaces():
    found = namespaces.find()
    if found is None:
        pytest.skip("this user may make no namespaces on this machine")
    return found


def _request(*command, hosts=1, **members):
    return {
        "TrainingJobName": "My-job",
        "AlgorithmSpecification": {
            "TrainingImage": "image",
            "TrainingInputMode": "File",
            **({"ContainerEntrypoint": [command[0]]} if command else {}),
            **({"ContainerArguments": list(command[1:])} if command[1:] else {}),
        },
        "ResourceConfig": {"InstanceType": "ml.g5.xlarge", "InstanceCount": hosts, "VolumeSizeInGB": 1},
        "OutputDataConfig": {"S3OutputPath": "s3://bucket/out"},
        **members,
    }


def _bash(script, **members):
    return _request("/bin/bash", "-c", textwrap.dedent(script), **members)


def _python(script, **members):
    return _request("python3", "-c", textwrap.dedent(script), **members)


def _channel(name, **source):
    return {
        "ChannelName": name,
        "DataSource": {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": f"s3://bucket/{name}/", **source}},
    }


def _objects(channel: Channel, folder: Path) -> None:
    """Stands for a prefix with five objects."""
    for key in channel.objects([f"{channel.name}/{number}.txt" for number in range(5)]):
        (folder / path_below(key, f"{channel.name}/")).write_text(key)


class Rehearsal:
    """A run with what was seen of it."""

    def __init__(self, tmp_path, isolation, request, **options):
        self.lines: dict[str, list[str]] = {}
        self.phases: list[Phase] = []
        tmp_path.mkdir(exist_ok=True)
        self.workspace = tmp_path / f"job-{len(list(tmp_path.iterdir()))}"
        self.seen = threading.Condition()
        options = {"environment": {"PATH": PATH}, "channels": _objects, "grace_s": 20, **options}
        self.run_of = JobRun(
            request=request,
            workspace=self.workspace,
            isolation=isolation,
            on_line=self._line,
            on_transition=lambda each: self.phases.append(each.phase),
            **options,
        )
        self.outcome = None
        self.thread = threading.Thread(target=self._run)

    def _line(self, host, text):
        with self.seen:
            self.lines.setdefault(host, []).append(text)
            self.seen.notify_all()

    def _run(self):
        self.outcome = self.run_of.run()

    def run(self):
        self._run()
        return self

    def start(self, *, until="", hosts=("algo-1",)):
        """Starts it in a thread; returns when each host has said `until`."""
        self.thread.start()
        with self.seen:
            assert self.seen.wait_for(lambda: all(until in self.lines.get(host, ()) for host in hosts), 30)
        return self

    def join(self):
        self.thread.join(60)
        assert self.outcome is not None
        return self

    def document(self, name, host="algo-1"):
        path = self.workspace / host / f"opt/ml/input/config/{name}.json"
        return json.loads(path.read_text(encoding="utf-8"))


@pytest.fixture
def rehearse(tmp_path, isolation):
    def begin(request, **options):
        return Rehearsal(tmp_path, isolation, request, **options)

    yield begin
    assert _remains(tmp_path) == []


def _remains(folder):
    """Returns the processes and mounts of this machine that name a folder."""
    found = [line for line in Path("/proc/self/mounts").read_text().splitlines() if str(folder) in line]
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and entry.name != str(os.getpid()):
            try:
                text = (entry / "environ").read_bytes() + (entry / "cmdline").read_bytes()
                state = (entry / "stat").read_text().rpartition(")")[2].split()[0]
            except OSError:
                continue
            if os.fsencode(folder) in text and state != "Z":
                found.append((entry.name, text))
    return found


# --------------------------------------------------------------------------------------------------- what hosts see


def test_hosts_reach_one_another_by_name(rehearse):
    talk = """\
        import json, os, pathlib, socket, time
        root = pathlib.Path(os.environ.get("SMTRAIN_ML_ROOT", "/opt/ml"))
        config = json.loads((root / "input/config/resourceconfig.json").read_text())
        first, port = config["hosts"][0], 29333
        if config["current_host"] == first:
            with socket.create_server((socket.gethostbyname(first), port)) as server:
                for _ in config["hosts"][1:]:
                    peer, address = server.accept()
                    print("heard", peer.recv(100).decode(), flush=True)
        else:
            # The same port as the first host's, on an address of its own.
            with socket.create_server((socket.gethostbyname(config["current_host"]), port)):
                for _ in range(200):
                    try:
                        with socket.create_connection((first, port)) as peer:
                            peer.send(config["current_host"].encode())
                        break
                    except ConnectionRefusedError:
                        time.sleep(0.05)
                else:
                    raise SystemExit(9)
        """
    done = rehearse(_python(talk, hosts=3)).run()
    assert done.outcome.status is Status.COMPLETED
    names = done.document("resourceconfig")["hosts"]
    assert sorted(done.lines["algo-1"]) == sorted(f"heard {name}" for name in names[1:])


def test_documents_are_those_of_sagemaker(tmp_path):
    members = {
        "HyperParameters": {"lr": "1e-4", "odd": "quote'\"\\"},
        "InputDataConfig": [
            {**_channel("train"), "ContentType": "application/jsonlines"},
            {**_channel("eval", S3DataDistributionType="ShardedByS3Key"), "InputMode": "FastFile"},
        ],
    }
    done = Rehearsal(tmp_path, _namespaces(), _request("true", hosts=2, **members)).run()
    assert done.document("resourceconfig", "algo-2") == {
        "current_group_name": "homogeneousCluster",
        "current_host": "algo-2",
        "current_instance_type": "ml.g5.xlarge",
        "hosts": ["algo-1", "algo-2"],
        "instance_groups": [
            {
                "instance_group_name": "homogeneousCluster",
                "instance_type": "ml.g5.xlarge",
                "hosts": ["algo-1", "algo-2"],
            }
        ],
        "network_interface_name": "lo",
    }
    assert done.document("inputdataconfig") == {
        "train": {
            "ContentType": "application/jsonlines",
            "TrainingInputMode": "File",
            "S3DistributionType": "FullyReplicated",
            "RecordWrapperType": "None",
        },
        "eval": {
            "TrainingInputMode": "FastFile",
            "S3DistributionType": "ShardedByS3Key",
            "RecordWrapperType": "None",
        },
    }
    assert done.document("hyperparameters") == members["HyperParameters"]


def test_each_host_has_its_own_opt_ml(rehearse):
    done = rehearse(_bash("echo $RANDOM$RANDOM >>/opt/ml/model/own; cat /opt/ml/model/own", hosts=2)).run()
    for host in ("algo-1", "algo-2"):
        assert len(done.lines[host]) == 1
        own = (done.workspace / host / "opt/ml/model/own").read_text()
        assert own == f"{done.lines[host][0]}\n"


def test_a_namespace_has_its_own_name_process_ids_and_nothing_of_opt_is_lost(tmp_path):
    done = Rehearsal(tmp_path, _namespaces(), _bash("hostname; echo $$; ls -1 /opt", hosts=2)).run()
    ours = {entry.name for entry in Path("/opt").iterdir()} | {"ml"}
    for host in ("algo-1", "algo-2"):
        assert done.lines[host][:2] == [host, "1"]
        assert set(done.lines[host][2:]) == ours


def test_hostile_values_reach_the_entrypoint_unchanged(rehearse):
    show = "import json, os, sys; print(json.dumps([os.environ['ODD'], sys.argv[1:]]))"
    request = _request("python3", "-c", show, HOSTILE, "", "--x=$HOME", Environment={"ODD": HOSTILE})
    request["HyperParameters"] = {"odd key": HOSTILE}
    done = rehearse(request).run()
    assert json.loads(done.lines["algo-1"][0]) == [HOSTILE, [HOSTILE, "", "--x=$HOME"]]
    assert done.document("hyperparameters") == {"odd key": HOSTILE}


def test_the_environment_is_the_requests_and_not_this_machines(rehearse, monkeypatch):
    monkeypatch.setenv("OF_THIS_MACHINE", "secret")
    request = _request("env", Environment={"MINE": "1", "PATH": "/usr/bin:/bin"})
    lines = rehearse(request, region="eu-west-1", account="111122223333").run().lines["algo-1"]
    assert not any("secret" in line for line in lines)
    assert {
        "MINE=1",
        "PATH=/usr/bin:/bin",
        "AWS_REGION=eu-west-1",
        "TRAINING_JOB_NAME=My-job",
        "TRAINING_JOB_ARN=arn:aws:sagemaker:eu-west-1:111122223333:training-job/my-job",
    } <= set(lines)


def test_a_sharded_channel_is_dealt_out_and_a_replicated_one_is_not(rehearse):
    inputs = [_channel("whole"), _channel("part", S3DataDistributionType="ShardedByS3Key")]
    done = rehearse(_bash("cd /opt/ml/input/data; echo whole/*; echo part/*", hosts=2, InputDataConfig=inputs)).run()
    assert [done.lines[host][0].count(".txt") for host in ("algo-1", "algo-2")] == [5, 5]
    assert done.lines["algo-1"][1] == "part/0.txt part/2.txt part/4.txt"
    assert done.lines["algo-2"][1] == "part/1.txt part/3.txt"


def test_instance_groups_get_their_channels_alone(rehearse):
    groups = [
        {"InstanceGroupName": "trainers", "InstanceType": "ml.p4d.24xlarge", "InstanceCount": 2},
        {"InstanceGroupName": "loaders", "InstanceType": "ml.c5.xlarge", "InstanceCount": 1},
    ]
    inputs = [
        _channel("rows", InstanceGroupNames=["trainers"], S3DataDistributionType="ShardedByS3Key"),
        _channel("raw", InstanceGroupNames=["loaders"]),
        _channel("code"),
    ]
    request = _bash("ls /opt/ml/input/data; ls /opt/ml/input/data/rows | wc -l", InputDataConfig=inputs)
    request["ResourceConfig"] = {"InstanceGroups": groups, "VolumeSizeInGB": 1}
    done = rehearse(request).run()
    assert done.lines["algo-1"] == ["code", "rows", "3"]
    assert done.lines["algo-2"] == ["code", "rows", "2"]
    assert done.lines["algo-3"][:2] == ["code", "raw"]
    config = done.document("resourceconfig", "algo-3")
    assert (config["current_group_name"], config["current_instance_type"]) == ("loaders", "ml.c5.xlarge")
    assert [len(group["hosts"]) for group in config["instance_groups"]] == [2, 1]


def test_a_file_system_is_the_folder_that_stands_for_it_read_only_if_so_asked(tmp_path):
    lustre = tmp_path / "lustre"
    lustre.mkdir()
    (lustre / "rows").write_text("here\n")
    source = {"FileSystemId": "fs-1", "FileSystemType": "FSxLustre", "DirectoryPath": "/fsx"}
    inputs = [
        {"ChannelName": mode, "DataSource": {"FileSystemDataSource": {**source, "FileSystemAccessMode": mode}}}
        for mode in ("ro", "rw")
    ]
    request = _bash("cd /opt/ml/input/data; cat ro/rows; touch ro/new; touch rw/new", InputDataConfig=inputs)
    done = Rehearsal(tmp_path, _namespaces(), request, file_systems={"ro": lustre, "rw": lustre}).run()
    assert done.lines["algo-1"][0] == "here"
    assert "Read-only file system" in done.lines["algo-1"][1]
    assert done.outcome.status is Status.COMPLETED
    assert (lustre / "new").exists()


def test_without_an_entrypoint_the_image_s_train_is_run(rehearse, tmp_path):
    program = tmp_path / "bin/train"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\necho toolkit $#\n")
    program.chmod(0o755)
    done = rehearse(_request(), environment={"PATH": f"{program.parent}:{PATH}"}).run()
    assert done.lines["algo-1"] == ["toolkit 0"]


def test_without_namespaces_paths_move_only_where_they_are_whole(tmp_path):
    show = 'printf "%s\\n" "$@"; echo "$CACHE"'
    words = ("/opt/ml", "--out=/opt/ml/model", "/opt/mlflow", "x/opt/ml", "/opt/ml.bak", "s3://b/opt/ml/x")
    request = _request("/bin/bash", "-c", show, "sh", *words, Environment={"CACHE": "/opt/ml/cache:/opt/ml/x"})
    done = Rehearsal(tmp_path, folders.Folders(), request).run()
    root = str(done.workspace / "algo-1/opt/ml")
    assert done.lines["algo-1"] == [
        root,
        f"--out={root}/model",
        "/opt/mlflow",
        "x/opt/ml",
        "/opt/ml.bak",
        "s3://b/opt/ml/x",
        f"{root}/cache:{root}/x",
    ]


# -------------------------------------------------------------------------------------------------------- how it ends


def test_phases_are_those_of_sagemaker(rehearse):
    done = rehearse(_request("true")).run()
    assert done.phases == [
        Phase.STARTING,
        Phase.DOWNLOADING,
        Phase.TRAINING,
        Phase.UPLOADING,
        Phase.COMPLETED,
    ]
    transitions = done.outcome.transitions
    assert [each.end for each in transitions[:-1]] == [each.start for each in transitions[1:]]
    assert transitions[-1].end is None


@pytest.mark.parametrize(("script", "code"), [("exit 1", 1), ("exit 2", 2), ("kill -KILL $BASHPID", 137)])
def test_the_exit_code_is_the_entrypoint_s(rehearse, script, code):
    # In a subshell: process 1 of a namespace cannot kill itself, there as little as in a container.
    done = rehearse(_bash(f"({script}); exit $?")).run()
    assert done.outcome.status is Status.FAILED
    assert done.outcome.exit_codes == {"algo-1": code}
    assert done.outcome.failure_reason == f"AlgorithmError: , exit code: {code}"


def test_a_killed_entrypoint_counts_as_137(rehearse, tmp_path):
    begun = rehearse(_bash("echo up; sleep 60")).start(until="up")
    for pid in _of_host(begun.workspace):
        os.kill(pid, signal.SIGKILL)
    assert begun.join().outcome.exit_codes == {"algo-1": 137}


def _of_host(workspace):
    return [
        int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit() and _is_sleep_of(entry, workspace)
    ]


def _is_sleep_of(entry, workspace):
    try:
        return (entry / "cwd").readlink().is_relative_to(workspace)
    except OSError:
        return False


def test_the_reason_of_a_failure_is_what_the_first_failing_host_wrote(rehearse, tmp_path):
    script = """\
        config=$(<"${SMTRAIN_ML_ROOT:-/opt/ml}/input/config/resourceconfig.json")
        if [[ $config == *'"current_host": "'*2'", "current_inst'* ]]
        then until [[ -e $UP ]]; do sleep 0.05; done; echo "out of ü memory" >/opt/ml/output/failure; exit 3
        fi
        trap 'echo asked; echo "because of the other" >/opt/ml/output/failure; exit 4' TERM
        touch "$UP"
        while true; do sleep 0.1; done
        """
    done = rehearse(_bash(script, hosts=2, Environment={"UP": str(tmp_path / "up")})).run()
    assert done.outcome.failure_reason == "AlgorithmError: out of ü memory\n, exit code: 3"
    assert done.outcome.exit_codes == {"algo-2": 3, "algo-1": 4}
    assert done.lines["algo-1"] == ["asked"]


def test_a_long_reason_is_cut_so_that_the_exit_code_stays(rehearse):
    done = rehearse(_bash("head -c 5000 /dev/zero | tr '\\0' x >/opt/ml/output/failure; exit 7")).run()
    assert len(done.outcome.failure_reason) == 1024
    assert done.outcome.failure_reason.endswith("x, exit code: 7")


def test_stopping_leaves_time_to_save(rehearse):
    script = "trap 'sleep 0.5; echo saved >/opt/ml/model/m; exit 0' TERM; echo up; while true; do sleep 0.1; done"
    begun = rehearse(_bash(script, hosts=2)).start(until="up", hosts=("algo-1", "algo-2"))
    begun.run_of.stop()
    done = begun.join()
    assert (done.outcome.status, done.outcome.failure_reason) == (Status.STOPPED, "")
    assert done.phases[-3:] == [Phase.STOPPING, Phase.UPLOADING, Phase.STOPPED]
    with tarfile.open(done.workspace / "model.tar.gz") as archive:
        assert archive.extractfile("m").read() == b"saved\n"


def test_an_entrypoint_that_ignores_the_request_to_end_is_killed(rehearse):
    begun = rehearse(_bash("trap '' TERM; echo up; while true; do sleep 0.1; done"), grace_s=1).start(until="up")
    begun.run_of.stop()
    done = begun.join()
    assert done.outcome.status is Status.STOPPED
    assert done.outcome.exit_codes == {"algo-1": 137}


def test_a_job_that_runs_too_long_is_stopped(rehearse):
    request = _bash("trap 'echo asked; exit 0' TERM; while true; do sleep 0.1; done")
    done = rehearse({**request, "StoppingCondition": {"MaxRuntimeInSeconds": 3}}).run()
    assert (done.outcome.status, done.outcome.phase) == (Status.STOPPED, Phase.MAX_RUNTIME_EXCEEDED)
    assert done.lines["algo-1"] == ["asked"]
    assert 3 <= done.outcome.seconds < 15


def test_a_job_stopped_before_it_trains_never_does(rehearse):
    begun = rehearse(_bash("echo trained"))
    begun.run_of.stop()
    done = begun.run()
    assert (done.outcome.status, done.lines) == (Status.STOPPED, {})


def test_a_channel_that_cannot_be_read_fails_the_job_as_a_client_error(rehearse):
    reason = "Data download failed: no such bucket"

    def broken(channel, folder):
        raise TransferFailed(reason)

    done = rehearse(_bash("echo trained", InputDataConfig=[_channel("rows")]), channels=broken).run()
    assert done.outcome.status is Status.FAILED
    assert done.outcome.failure_reason == f"ClientError: {reason}"
    assert done.lines == {}


def test_processes_that_the_entrypoint_leaves_behind_end_with_it(rehearse, tmp_path):
    done = rehearse(_bash("(setsid sleep 300 &) ; (exec >/dev/null 2>&1; setsid sleep 301 &); echo up")).run()
    assert done.outcome.status is Status.COMPLETED
    assert done.outcome.seconds < 10
    assert not _of_host(done.workspace)


def test_nothing_outlives_a_killed_rehearsal(tmp_path):
    found = _namespaces()
    script = f"""\
        from pathlib import Path
        from smtrain_trainingjob.rehearsal.engine import JobRun
        from smtrain_trainingjob.rehearsal.namespaces import Namespaces
        JobRun(
            request={_bash("echo up; sleep 300 & sleep 301", hosts=2)!r},
            workspace=Path({str(tmp_path / "job")!r}),
            channels=None,
            environment={{"PATH": {PATH!r}}},
            isolation=Namespaces(unshare={found.unshare!r}),
            on_line=lambda host, text: print(text, flush=True),
        ).run()
        """
    path = os.pathsep.join(filter(None, sys.path))
    words = (sys.executable, "-c", textwrap.dedent(script))
    with subprocess.Popen(words, stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": path}) as process:
        assert [process.stdout.readline(), process.stdout.readline()] == [b"up\n", b"up\n"]
        process.kill()
    deadline = time.monotonic() + 10
    while (left := _of_host(tmp_path)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert left == []


def test_an_observer_that_raises_ends_the_job(rehearse):
    def raising(host, text):
        raise RuntimeError(text)

    begun = rehearse(_bash("yes | head -n 5000; sleep 300", hosts=2))
    begun.run_of.on_line = begun.run_of._training.on_line = raising
    with pytest.raises(RuntimeError, match="y"):
        begun.run()


def test_rehearsals_side_by_side_do_not_meet(rehearse):
    script = """\
        import json, os, pathlib, socket, time
        root = pathlib.Path(os.environ.get("SMTRAIN_ML_ROOT", "/opt/ml"))
        config = json.loads((root / "input/config/resourceconfig.json").read_text())
        with socket.create_server((socket.gethostbyname(config["current_host"]), 29444)):
            (root / "model/who").write_text(os.environ["WHO"])
            time.sleep(1)
            print(sorted(path.name for path in (root / "model").iterdir()), (root / "model/who").read_text())
        """
    every = [rehearse(_python(script, hosts=2, Environment={"WHO": str(number)})) for number in range(3)]
    for number, each in enumerate(every):
        each.workspace = each.run_of.workspace = each.workspace.with_name(f"side-{number}")
        each.thread.start()
    for number, each in enumerate(every):
        assert each.join().lines == {host: [f"['who'] {number}"] for host in ("algo-1", "algo-2")}


# ------------------------------------------------------------------------------------------- results and checkpoints


def test_results_of_all_hosts_are_one_archive_and_the_first_host_s_files_count(rehearse):
    script = """\
        n=$(($(grep -o '"current_host": "[^"]*"' "${SMTRAIN_ML_ROOT:-/opt/ml}/input/config/resourceconfig.json" |
          grep -o '[12]"' | tr -d '"')))
        echo "$n" >/opt/ml/model/shared; mkdir /opt/ml/model/sub; echo x >"/opt/ml/model/sub/of $n"
        echo y >/opt/ml/output/data/report
        """
    stored = {}
    run = rehearse(_bash(script, hosts=2), store=stored.setdefault).run()
    with tarfile.open(stored["model"]) as archive:
        assert archive.extractfile("shared").read() == b"1\n"
        assert {name for name in archive.getnames() if "of" in name} == {"sub/of 1", "sub/of 2"}
    with tarfile.open(stored["output"]) as archive:
        assert archive.getnames() == ["report"]
    assert run.outcome.status is Status.COMPLETED


def test_a_failed_job_keeps_its_report_and_no_model(rehearse):
    stored = {}
    script = "echo half >/opt/ml/model/m; echo y >/opt/ml/output/data/report; exit 1"
    rehearse(_bash(script), store=stored.setdefault).run()
    assert set(stored) == {"output"}


def test_without_compression_the_model_is_a_folder(rehearse):
    stored = {}
    request = _bash("mkdir /opt/ml/model/a; echo m >/opt/ml/model/a/m")
    request["OutputDataConfig"]["CompressionType"] = "NONE"
    rehearse(request, store=stored.setdefault).run()
    assert (stored["model"] / "a/m").read_text() == "m\n"


def test_checkpoints_are_restored_kept_while_it_runs_and_once_more_at_the_end(rehearse, tmp_path):
    kept = tmp_path / "kept"
    kept.mkdir()
    (kept / "step-1").write_text("old")
    script = """\
        cat /opt/ml/checkpoints/step-1
        echo new >/opt/ml/checkpoints/step-2
        for _ in {1..200}; do [[ -e $KEPT/step-2 ]] && echo seen && break; sleep 0.05; done
        echo last >/opt/ml/checkpoints/step-3
        """
    request = _bash(script, CheckpointConfig={"S3Uri": "s3://bucket/checkpoints"}, Environment={"KEPT": str(kept)})
    done = rehearse(request, checkpoints=CheckpointFolder(kept), sync_every_s=0.1).run()
    assert done.lines["algo-1"] == ["old" + "seen"]
    assert {path.name: path.read_text() for path in kept.iterdir()} == {
        "step-1": "old",
        "step-2": "new\n",
        "step-3": "last\n",
    }


def test_output_that_is_not_text_and_lines_without_end_pass(rehearse):
    done = rehearse(_bash("printf '\\xff\\xfe one\\n'; head -c 40000 /dev/zero | tr '\\0' x; printf end")).run()
    lines = done.lines["algo-1"]
    assert lines[0] == "\ufffd\ufffd one"
    assert "".join(lines[1:]) == "x" * 40000 + "end"
    assert max(map(len, lines)) == 16384


# ------------------------------------------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    ("members", "words"),
    [
        ({"InputDataConfig": [{**_channel("rows"), "InputMode": "Pipe"}]}, "Pipe mode"),
        ({"InputDataConfig": [_channel("rows", S3DataType="ManifestFile")]}, "ManifestFile"),
        ({"InputDataConfig": [{**_channel("rows"), "CompressionType": "Gzip"}]}, "unpacks no channels"),
        ({"InputDataConfig": [_channel("rows", InstanceGroupNames=["gone"])]}, "no instance group 'gone'"),
        ({"CheckpointConfig": {"S3Uri": "s3://b/c", "LocalPath": "/data"}}, "/data is not below /opt/ml"),
        ({"CheckpointConfig": {"S3Uri": "s3://b/c", "LocalPath": "/opt/ml/../../x"}}, "not below /opt/ml"),
        ({"Environment": {"A": 1}}, "Environment must be an object whose values are all texts"),
        (
            {
                "InputDataConfig": [
                    {"ChannelName": "rows", "DataSource": {"FileSystemDataSource": {"DirectoryPath": "/fsx/rows"}}}
                ]
            },
            "The file system of /fsx/rows is not on this machine",
        ),
    ],
)
def test_what_cannot_be_rehearsed_is_said_before_anything_starts(tmp_path, members, words):
    begun = Rehearsal(tmp_path, folders.Folders(), _request("true", **members))
    with pytest.raises(SmtrainError, match=words):
        begun.run()
    assert not begun.workspace.exists()


def test_files_of_another_rehearsal_are_not_mixed_in(tmp_path):
    first = Rehearsal(tmp_path, folders.Folders(), _request("true")).run()
    second = Rehearsal(tmp_path, folders.Folders(), _request("true"))
    second.run_of.workspace = first.workspace
    with pytest.raises(SmtrainError, match="another rehearsal"):
        second.run()


# ------------------------------------------------------------------------------------------------- pure functions


@pytest.mark.parametrize(
    ("key", "prefix", "path"),
    [
        ("data/a/b.txt", "data/", "a/b.txt"),
        ("data/a/b.txt", "data", "a/b.txt"),
        ("data/b.txt", "data/b.txt", "b.txt"),
        ("data/part-1", "data/part-", "part-1"),
        ("b.txt", "", "b.txt"),
    ],
)
def test_objects_lie_in_a_channel_below_the_folder_of_its_prefix(key, prefix, path):
    assert path_below(key, prefix) == path


def test_a_channel_has_no_markers_of_folders():
    assert Channel(name="a", data_type="S3Prefix", uri="s3://b/a/").objects(["a/", "a/x", "a/d/"]) == ("a/x",)


def test_the_hosts_file_replaces_older_entries_of_our_names():
    host = Host(name="algo-1", known_as="algo-1", address="127.1.2.101", group="g", instance_type="t", root=Path("/r"))
    machine = "127.0.0.1 localhost\n10.0.0.1 algo-1 # other\n10.0.0.2 algo-12 # algo-1\n"
    assert hosts_file((host,), machine) == "127.0.0.1 localhost\n10.0.0.2 algo-12 # algo-1\n127.1.2.101 algo-1\n"


def test_docker_runs_the_real_image_and_no_value_is_on_its_command_line():
    host = Host(name="algo-2", known_as="algo-2", address="", group="g", instance_type="t", root=Path("/w/algo-2"))
    of_job = docker.Docker(
        job_name="my-job", image="image:1", own_entrypoint=True, gpus=True, program="docker", client_environment={}
    )
    mounts = (Mount(source=Path("/fsx,a"), path="/opt/ml/input/data/rows"),)
    command = of_job.command(host, ("/bin/bash", "-c", "x y"), {"TOKEN": "s3cret", "HOME": "/root"}, mounts)
    assert command.argv == (
        *("docker", "run", "--rm", "--name", "my-job-algo-2", "--hostname", "algo-2"),
        *("--network", "my-job", "--network-alias", "algo-2"),
        *("--add-host", "host.docker.internal:host-gateway"),
        *("--volume", "/w/algo-2/opt/ml:/opt/ml"),
        *("--mount", 'type=bind,"source=/fsx,a",target=/opt/ml/input/data/rows,readonly'),
        *("--gpus", "all", "--ipc", "private", "--shm-size", "2g"),
        *("--env", "HOME=/root", "--env", "TOKEN"),
        *("--entrypoint", "/bin/bash", "image:1", "-c", "x y"),
    )
    assert command.environment == {"TOKEN": "s3cret"}


def test_docker_leaves_the_entrypoint_to_the_image_where_the_request_does():
    host = Host(name="algo-1", known_as="algo-1", address="", group="g", instance_type="t", root=Path("/w"))
    of_job = docker.Docker(
        job_name="j", image="i", own_entrypoint=False, gpus=False, program="docker", client_environment={}
    )
    assert of_job.command(host, ("train",), {}, ()).argv[-4:] == ("--shm-size", "2g", "i", "train")


def test_an_unprivileged_user_gets_namespaces_too_where_the_kernel_lets_them():
    if os.geteuid() != 0:
        pytest.skip("only root can become another user to try it")
    path = os.pathsep.join(filter(None, sys.path))
    words = ("setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups")

    def as_nobody(*command):
        environment = {**os.environ, "PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"}
        return subprocess.run((*words, *command), capture_output=True, text=True, env=environment, cwd="/", check=False)

    for need in (("unshare", "--user", "--map-root-user", "true"), (sys.executable, "-c", "import smtrain.plugin")):
        if as_nobody(*need).returncode != 0:
            pytest.skip(f"nobody may not run {need[0]} on this machine")
    # Not tmp_path, which others than root cannot reach.
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o777)
        script = f"""\
            from pathlib import Path
            from smtrain_trainingjob.rehearsal import namespaces
            from smtrain_trainingjob.rehearsal.engine import JobRun
            print("--map-root-user" in namespaces.find().unshare)
            print(JobRun(
                request={_bash("hostname; touch /opt/ml/model/m")!r},
                workspace=Path({folder!r}) / "job",
                channels=None,
                environment={{"PATH": {PATH!r}}},
                on_line=lambda host, text: print(text),
            ).run().status)
            """
        done = as_nobody(sys.executable, "-c", textwrap.dedent(script))
        assert done.stdout.split() == ["True", "algo-1", "Completed"], done.stderr


# A stand-in for the docker client, of which no daemon can be expected where tests run: it says what it is asked, and a
# "container" is the entrypoint's words themselves. What it does not show is that Docker takes these words.
_STAND_IN = """\
#!/bin/bash
printf '%s\\n' "$*" >>"$STAND_IN_LOG"
case $1 in
  run) while [[ $1 != image:1 ]]; do [[ $1 != --entrypoint ]] || entrypoint=$2; shift; done
       echo $$ >"$STAND_IN_LOG.pid"; shift; exec "$entrypoint" "$@" ;;
  kill) kill -s "${3#SIG}" "$(<"$STAND_IN_LOG.pid")" ;;
esac
"""


def test_docker_is_asked_for_a_network_and_containers_and_to_remove_them(tmp_path, monkeypatch):
    program, log = tmp_path / "bin/docker", tmp_path / "log"
    program.parent.mkdir()
    program.write_text(_STAND_IN)
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{PATH}")
    monkeypatch.setenv("STAND_IN_LOG", str(log))
    isolation = docker.find("my-job", "image:1", own_entrypoint=True, gpus=False)
    request = _bash("trap 'exit 5' TERM; echo up; while true; do sleep 0.1; done", Environment={"TOKEN": "s3cret"})
    begun = Rehearsal(tmp_path / "jobs", isolation, request).start(until="up")
    begun.run_of.stop()
    assert begun.join().outcome.exit_codes == {"algo-1": 5}
    assert begun.document("resourceconfig")["network_interface_name"] == "eth0"
    said = log.read_text()
    assert "s3cret" not in said
    assert [line.partition(" --")[0] for line in said.splitlines()] == [
        "version",
        "network create my-job",
        "run",
        "kill",
        *["rm"] * said.count("\nrm "),
        "network rm my-job",
    ]
    assert "rm --force my-job-algo-1" in said


def test_docker_without_its_daemon_is_said_so(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SmtrainError, match="There is no `docker` on PATH"):
        docker.find("job", "image", own_entrypoint=True, gpus=False)
    program = tmp_path / "docker"
    program.write_text("#!/bin/sh\necho 'Cannot connect to the Docker daemon' >&2; exit 1\n")
    program.chmod(0o755)
    with pytest.raises(SmtrainError, match="Cannot connect to the Docker daemon"):
        docker.find("job", "image", own_entrypoint=True, gpus=False)
