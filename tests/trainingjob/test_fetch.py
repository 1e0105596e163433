"""Fetching results: whole or not at all, never twice, and nothing outside the run's folder."""

from __future__ import annotations

import io
import json
import os
import tarfile
import time
import zlib

import pytest

pytest.importorskip("boto3", reason="boto3 is not installed")

from smtrain_trainingjob.following.fetch import fetch
from submitted_runs import BUCKET, Watching, request_of, run_of
from submitted_runs import submitted as submit

from smtrain.errors import ExitCode, SmtrainError

pytest_plugins = ("sagemaker_account",)


def put(account, name, **objects):
    """Puts objects into a run's folder of S3: path (with `__` for `/`) → content."""
    for path, content in objects.items():
        put_at(account, f"runs/{name}/{path.replace('__', '/')}", content)


def put_at(account, key, content):
    body = content if isinstance(content, bytes) else content.encode()
    account.client("s3").put_object(Bucket=BUCKET, Key=key, Body=body)


def marker(node, nodes, files, save="1"):
    rows = [{"path": path, "size": size} for path, size in files.items()]
    return json.dumps({"format": 1, "node": node, "num_nodes": nodes, "save": save, "files": rows})


def tree(folder):
    return {str(path.relative_to(folder)): path.read_text() for path in sorted(folder.rglob("*")) if path.is_file()}


def fetched(run, *parts):
    observer = Watching()
    found = fetch(*run, parts=parts, observer=observer)
    return [str(path.relative_to(run[0])) for path in found], observer.lines


@pytest.fixture
def name(request):
    return f"f-{zlib.crc32(request.node.name.encode())}"


@pytest.fixture
def run(account, name, tmp_path):
    return run_of(tmp_path, request_of(name, hosts=2))


class TestModel:
    def test_the_files_come_to_where_a_run_of_this_machine_has_them(self, account, name, run):
        put(account, name, output__adapter__config="{}", output__adapter__deep__weights="w" * 1000, output__log__a="l")
        put_at(account, f"runs/{name}/output/model.tar.gz", b"SageMaker's own")
        put_at(account, f"runs/{name}-t2/output/adapter/config", b"another run's")
        found, lines = fetched(run, "model")
        assert found == ["output/adapter", "output/log"]
        assert tree(run[0] / "output") == {"adapter/config": "{}", "adapter/deep/weights": "w" * 1000, "log/a": "l"}
        assert any("3 files" in line for line in lines)

    def test_what_is_here_is_not_fetched_again_and_what_changed_is(self, account, name, run):
        put(account, name, output__adapter__same="same", output__adapter__other="other")
        fetched(run, "model")
        inodes = {path: (run[0] / "output/adapter" / path).stat().st_ino for path in ("same", "other")}
        time.sleep(1.1)  # S3 tells times in seconds
        put(account, name, output__adapter__other="OTHER")  # of the same size
        fetched(run, "model")
        assert (run[0] / "output/adapter/other").read_text() == "OTHER"
        assert (run[0] / "output/adapter/same").stat().st_ino == inodes["same"]
        assert (run[0] / "output/adapter/other").stat().st_ino != inodes["other"]

    def test_what_a_broken_transfer_left_is_made_whole(self, account, name, run):
        put(account, name, output__adapter__weights="w" * 1000)
        place = run[0] / "output" / "adapter"
        place.mkdir(parents=True)
        (place / "weights").write_text("w" * 10)
        fetched(run, "model")
        assert tree(place) == {"weights": "w" * 1000}

    def test_a_failure_leaves_no_half_of_a_file_and_the_rest_is_kept(self, account, name, run):
        put(account, name, output__adapter__good="good", output__adapter__bad="bad")
        (run[0] / "output" / "adapter" / "bad").mkdir(parents=True)  # where a file is to be
        with pytest.raises(OSError):
            fetched(run, "model")
        assert tree(run[0] / "output") == {"adapter/good": "good"}

    @pytest.mark.parametrize("key", ["output/../../../../evil", "output/a/../../../evil", "output//etc/evil"])
    def test_a_key_that_leads_elsewhere_is_refused(self, key, account, name, run):
        put_at(account, f"runs/{name}/{key}", "evil")
        with pytest.raises(SmtrainError, match="leads out of the folder"):
            fetched(run, "model")
        assert not list(run[0].parent.rglob("*evil*"))

    def test_names_that_break_a_careless_quoting_are_kept(self, account, name, run):
        names = ("two words", "it's", "$(x)", "é 漢字", "a;b|c&d>e", "#hash", "percent%20", "plus+sign")
        for each in names:
            put_at(account, f"runs/{name}/output/adapter/{each}", each)
        fetched(run, "model")
        assert tree(run[0] / "output" / "adapter") == {each: each for each in sorted(names)}

    def test_there_is_none_before_there_is_one(self, run):
        found, lines = fetched(run, "model")
        assert found == []
        assert any("there is no model" in line for line in lines)

    def test_a_job_that_left_its_model_to_sagemaker_gives_it_too(self, account, name, tmp_path):
        script = "mkdir /opt/ml/model/deep && echo weights >/opt/ml/model/deep/w"
        run_dir, receipt = submit(account, tmp_path, name, script)
        account.wait(name)
        found, _ = fetched((run_dir, receipt), "model")
        assert found == ["output/model"]
        assert tree(run_dir / "output") == {"model/deep/w": "weights\n"}

    def test_an_empty_archive_is_no_model(self, account, name, tmp_path):
        run_dir, receipt = submit(account, tmp_path, name)
        account.wait(name)
        assert fetched((run_dir, receipt), "model")[0] == []
        assert not (run_dir / "output" / "model").exists()

    @pytest.mark.parametrize("path", ["../../evil", "link"])
    def test_an_archive_that_leads_elsewhere_is_refused(self, path, account, name, tmp_path):
        run_dir, receipt = submit(account, tmp_path, name)
        account.wait(name)
        put_at(account, f"runs/{name}/output/model.tar.gz", archive(path))
        with pytest.raises(SmtrainError, match="cannot be unpacked") as raised:
            fetched((run_dir, receipt), "model")
        assert raised.value.exit_code is ExitCode.REMOTE_REFUSED
        assert not (run_dir / "output" / "model").exists()

    def test_a_full_path_in_an_archive_becomes_one_inside_the_folder(self, account, name, tmp_path):
        run_dir, receipt = submit(account, tmp_path, name)
        account.wait(name)
        put_at(account, f"runs/{name}/output/model.tar.gz", archive("/deep/weights"))
        fetched((run_dir, receipt), "model")
        assert tree(run_dir / "output") == {"model/deep/weights": ""}

    def test_a_python_that_cannot_unpack_safely_says_what_to_install(self, account, name, tmp_path, monkeypatch):
        run_dir, receipt = submit(account, tmp_path, name)
        account.wait(name)
        put_at(account, f"runs/{name}/output/model.tar.gz", archive("weights"))
        monkeypatch.delattr("smtrain_trainingjob.following.fetch.tarfile.data_filter")
        with pytest.raises(SmtrainError, match=r"pip install backports\.tarfile") as raised:
            fetched((run_dir, receipt), "model")
        assert raised.value.exit_code is ExitCode.MISSING_HERE


def archive(path):
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        entry = tarfile.TarInfo(path)
        if path == "link":
            entry.type, entry.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(entry)
    return packed.getvalue()


class TestCheckpoints:
    def put(self, account, name, checkpoint, *markers, files=("a", "b")):
        for path in files:
            put_at(account, f"runs/{name}/checkpoints/adapter/{checkpoint}/{path}", path * 10)
        for number, text in enumerate(markers):
            put_at(account, f"runs/{name}/checkpoints/adapter/{checkpoint}/.smtrain/node-{number}.json", text)

    def test_the_whole_ones_come_without_their_markers(self, account, name, run):
        self.put(account, name, "checkpoint-10", marker(0, 2, {"a": 10}), marker(1, 2, {"b": 10}))
        assert fetched(run, "checkpoints")[0] == ["output/adapter/checkpoint-10"]
        assert tree(run[0] / "output/adapter") == {"checkpoint-10/a": "a" * 10, "checkpoint-10/b": "b" * 10}

    @pytest.mark.parametrize(
        "markers",
        [
            (),
            (marker(0, 2, {"a": 10}),),  # the other host is not there yet
            (marker(0, 2, {"a": 10}), marker(1, 2, {"b": 10}, save="2")),  # of another save
            (marker(0, 2, {"a": 10}), marker(1, 2, {"c": 10})),  # a file is gone
            (marker(0, 2, {"a": 10}), marker(1, 2, {"b": 11})),  # a file is shorter
            (marker(0, 2, {"a": 10}), marker(0, 2, {"b": 10})),  # the same host twice
            ("{", "[]"),
            ('{"node": 0, "num_nodes": 1, "save": "1"}',),
        ],
    )
    def test_a_half_one_is_left_out(self, markers, account, name, run):
        self.put(account, name, "checkpoint-10", marker(0, 1, {"a": 10, "b": 10}))
        self.put(account, name, "checkpoint-20", *markers)
        assert fetched(run, "checkpoints")[0] == ["output/adapter/checkpoint-10"]
        assert not (run[0] / "output/adapter/checkpoint-20").exists()

    def test_without_any_whole_one_that_is_said(self, account, name, run):
        self.put(account, name, "checkpoint-10")
        found, lines = fetched(run, "checkpoints")
        assert (found, len(lines)) == ([], 1)
        assert "no whole checkpoint" in lines[0]


def test_the_progress_comes_to_where_the_program_would_have_written_it(account, name, run):
    put_at(account, f"runs/{name}/progress.jsonl", '{"step": 1, "total": 2, "loss": 2.5}\n')
    assert fetched(run, "metrics")[0] == ["work/logs/log.jsonl"]
    assert tree(run[0] / "work") == {"logs/log.jsonl": '{"step": 1, "total": 2, "loss": 2.5}\n'}


def test_only_the_parts_that_are_asked_for_come(account, name, run):
    put(account, name, output__adapter__a="a", **{"progress.jsonl": "{}\n"})
    assert fetched(run, "metrics")[0] == ["work/logs/log.jsonl"]
    assert not (run[0] / "output").exists()
    assert fetched(run, "model", "checkpoints", "metrics")[0] == ["output/adapter", "work/logs/log.jsonl"]


def test_many_files_come_all(account, name, run):
    for number in range(120):
        put_at(account, f"runs/{name}/output/adapter/{number}", str(number))
    fetched(run, "model")
    assert tree(run[0] / "output/adapter") == {str(number): str(number) for number in sorted(range(120), key=str)}


def test_a_bucket_that_is_not_there_is_an_error_of_the_remote_side(account, name, tmp_path):
    request = request_of(name, Environment={"SMTRAIN_OUTPUT_URI": "s3://no-such-bucket/x"})
    with pytest.raises(SmtrainError, match="NoSuchBucket") as raised:
        fetched(run_of(tmp_path, request), "model")
    assert raised.value.exit_code is ExitCode.REMOTE_REFUSED
    assert os.listdir(tmp_path / name) == ["bundle"]  # noqa: PTH208
