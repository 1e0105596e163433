"""Looking whether S3 has what a run reads, against a real S3 server."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from s3_wire import Answer, Wire, wire_to
from submitting import CALL, UPLOAD, make_run, submit_run

from smtrain.aws import client as aws
from smtrain.aws.expectations import look
from smtrain.errors import ExitCode, Problem, SmtrainError
from smtrain.spec import Expect

if TYPE_CHECKING:
    from s3_server import S3Server

pytest.importorskip("boto3", reason="boto3 is not installed; the extra `aws` brings it")
pytest_plugins = ("s3_server",)


@pytest.fixture
def wire(s3_server: S3Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[Wire]:
    with wire_to(s3_server.endpoint) as found:
        for name in [name for name in os.environ if name.startswith("AWS_")]:
            monkeypatch.delenv(name)
        for name, value in s3_server.behind(found.endpoint).env.items():
            monkeypatch.setenv(name, value)
        aws._session.cache_clear()
        yield found
    aws._session.cache_clear()


class Bucket:
    """A bucket of the test's own."""

    def __init__(self, server: S3Server) -> None:
        self.name = f"bucket-{uuid.uuid4().hex[:12]}"
        self._s3 = server.client()
        self._s3.create_bucket(Bucket=self.name)

    def put(self, *keys: str) -> None:
        for key in keys:
            self._s3.put_object(Bucket=self.name, Key=key, Body=b"" if key.endswith("/") else b"content")

    def uri(self, key: str) -> str:
        return f"s3://{self.name}/{key}"

    def missing(self, *keys: str) -> tuple[Problem, ...]:
        """Returns what is said of these keys, and looks that nothing is said where all is there."""
        try:
            look(Expect(uris=tuple(map(self.uri, keys)), region="us-east-1"))
        except SmtrainError as error:
            return tuple(error.problems)
        return ()


@pytest.fixture
def bucket(s3_server: S3Server, wire: Wire) -> Bucket:
    del wire
    return Bucket(s3_server)


@pytest.mark.parametrize(
    "key",
    [
        "models/a",
        "models/a/",
        "models/a/config.json",
        "models/a/deep",
        "models",
        "",
        "rows/train *.jsonl",
        "é ü/日本",
        "models/a/*",
    ],
)
def test_a_prefix_an_object_or_a_whole_bucket_is_there(bucket: Bucket, key: str) -> None:
    bucket.put("models/a/config.json", "models/a/deep/er/model.bin", "rows/train *.jsonl", "é ü/日本/x")
    assert bucket.missing(key) == ()


def test_a_name_that_merely_begins_alike_is_not_there(bucket: Bucket) -> None:
    bucket.put("models/ab/config.json", "models/a.txt")
    (problem,) = bucket.missing("models/a")
    assert problem.what == f"There is nothing at {bucket.uri('models/a')}."
    assert problem.code == ExitCode.REMOTE_REFUSED
    assert bucket.missing("models/a/") != ()
    # What sorts before the folder's own keys must not hide them: "." comes before "/".
    bucket.put("models/a/config.json")
    assert bucket.missing("models/a") == ()


def test_the_marker_of_a_folder_is_no_content(bucket: Bucket) -> None:
    bucket.put("models/a/")
    assert len(bucket.missing("models/a")) == len(bucket.missing("models/a/")) == 1
    bucket.put("models/a/config.json")
    assert bucket.missing("models/a", "models/a/") == ()


def test_near_names_are_told(bucket: Bucket) -> None:
    bucket.put("models/qwen3-8b/config.json", "models/llama/config.json", "models/rows.jsonl")
    (misspelt,) = bucket.missing("models/qwen3-8")
    assert bucket.uri("models") in misspelt.fix
    assert "Did you mean `qwen3-8b`?" in misspelt.fix
    (object_,) = bucket.missing("models/row.jsonl")
    assert "Did you mean `rows.jsonl`?" in object_.fix
    (other,) = bucket.missing("models/unlike")
    assert all(name in other.fix for name in ("llama", "qwen3-8b", "rows.jsonl"))
    (nowhere,) = bucket.missing("no/such/folder")
    assert nowhere.fix == f"{bucket.uri('no/such')} holds nothing at all."


def test_all_that_is_missing_is_told_at_once(bucket: Bucket) -> None:
    bucket.put("there/x")
    problems = bucket.missing("first", "there", "second")
    assert [problem.what for problem in problems] == [
        f"There is nothing at {bucket.uri(key)}." for key in ("first", "second")
    ]


def test_no_permission_and_no_bucket_are_told_in_the_services_words(bucket: Bucket, wire: Wire) -> None:
    wire.fault = lambda asked: Answer(status=403, code="AccessDenied") if asked.is_listing else None
    (denied,) = bucket.missing("models")
    assert (denied.code, "s3:ListObjectsV2 was refused: AccessDenied" in denied.what) == (ExitCode.REMOTE_REFUSED, True)
    wire.clear()
    with pytest.raises(SmtrainError) as caught:
        look(Expect(uris=("s3://no-such-bucket-at-all/models",), region="us-east-1"))
    (absent,) = caught.value.problems
    assert "NoSuchBucket" in absent.what
    assert "no-such-bucket-at-all" in absent.what + absent.fix


def test_nothing_is_uploaded_or_made_before_everything_is_there(bucket: Bucket, wire: Wire, tmp_path: Path) -> None:
    run_dir = make_run(tmp_path)
    expect = Expect(uris=(bucket.uri("models/a"),), region="us-east-1")
    with pytest.raises(SmtrainError):
        submit_run(run_dir, actions=(expect, UPLOAD, CALL))
    assert wire.puts() == []
    assert not (run_dir / "receipt.json").exists()
