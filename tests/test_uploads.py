from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from s3_server import client_environment, needs, serve
from s3_wire import BREAK, LOST, Answer, Asked, Wire, wire_to
from submitting import Watching

from smtrain.aws import client as aws
from smtrain.aws import multipart, uploads
from smtrain.aws.uploads import Uploaded
from smtrain.errors import ExitCode, SmtrainError
from smtrain.spec import Upload

pytest.importorskip("boto3", reason="boto3 is not installed; the extra `aws` brings it")

MIB = 2**20
# A backslash is missing: SeaweedFS takes it for a slash, which S3 does not.
HOSTILE = (
    "a b.txt",
    "quote'\"`.txt",
    "$(touch pwned);&.txt",
    "é ü 日本.txt",
    "percent%2Fplus+.txt",
    "query?x=1#fragment",
    "star*[1].txt",
    "-rf",
    ".hidden/..double/file..",
    "deep/" * 30 + "file",
    "line\nbreak.txt",
)


@pytest.fixture(scope="module")
def endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    needs("weed")
    with serve(tmp_path_factory.mktemp("s3")) as server:
        server.client().create_bucket(Bucket="bucket1")
        yield server.endpoint


@pytest.fixture
def wire(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Wire]:
    """The wire to a real S3 server."""
    with wire_to(endpoint) as found:
        aws_environment(monkeypatch, found.endpoint)
        yield found


def aws_environment(monkeypatch: pytest.MonkeyPatch, endpoint: str) -> None:
    for name, value in client_environment(endpoint).items():
        monkeypatch.setenv(name, value)
    aws._session.cache_clear()


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Seconds that boto3 would have waited between its tries, none of which it waits."""
    waited: list[float] = []
    monkeypatch.setattr("botocore.endpoint.time.sleep", waited.append)
    return waited


@pytest.fixture
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Parts of 5 MiB, the least that S3 takes, and multipart from 6 MiB on."""
    monkeypatch.setattr(multipart, "_PART", 5 * MIB)
    monkeypatch.setattr(uploads, "_LARGE", 6 * MIB)


def bundle_of(folder: Path, files: dict[str, bytes]) -> Path:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return folder


def action_of(request: pytest.FixtureRequest, names: tuple[str, ...] | dict[str, bytes], **fields: str) -> Upload:
    """Returns the upload of these files to a prefix of the test's own."""
    place = "".join(letter if letter.isalnum() else "-" for letter in request.node.name)
    uri = fields.pop("uri", f"s3://bucket1/some where/{place}/")
    return Upload(uri=uri, files=tuple((name, name) for name in names), region="us-east-1", **fields)


def objects(endpoint: str, action: Upload) -> dict[str, bytes]:
    """Returns key below the URI → content, of all that is there."""
    import boto3

    client = boto3.client("s3", endpoint_url=endpoint)
    prefix = action.uri.removeprefix("s3://bucket1/")
    pages = client.get_paginator("list_objects_v2").paginate(Bucket="bucket1", Prefix=prefix)
    keys = [each["Key"] for page in pages for each in page.get("Contents", [])]
    return {key.removeprefix(prefix): client.get_object(Bucket="bucket1", Key=key)["Body"].read() for key in keys}


def refused(bundle: Path, action: Upload) -> SmtrainError:
    with pytest.raises(SmtrainError) as caught:
        uploads.upload(bundle, action, observer=Watching())
    return caught.value


# --------------------------------------------------------------------------------------------------- what is sent when


def test_files_of_any_name_and_size_arrive_as_they_are(
    tmp_path: Path, wire: Wire, endpoint: str, request: pytest.FixtureRequest
) -> None:
    files = {name: name.encode() * 1000 for name in HOSTILE} | {"empty": b"", "zeros": b"\0" * 100_000}
    action = action_of(request, files)
    watching = Watching()
    sent = uploads.upload(bundle_of(tmp_path, files), action, observer=watching)
    assert sent == Uploaded(files_sent=len(files), bytes_sent=sum(map(len, files.values())), files_there=0)
    assert objects(endpoint, action) == files
    assert len(watching.lines) == 1
    assert watching.lines[0].startswith(f"{action.uri}: uploaded 13 files, 398 kB")


def test_what_s3_has_is_not_sent_again_and_costs_one_listing(
    tmp_path: Path, wire: Wire, request: pytest.FixtureRequest
) -> None:
    files = {f"file {number}": b"x" * number for number in range(20)}
    bundle, action = bundle_of(tmp_path, files), action_of(request, files)
    uploads.upload(bundle, action, observer=Watching())
    wire.clear()
    watching = Watching()
    assert uploads.upload(bundle, action, observer=watching) == Uploaded(files_there=20)
    assert [each.is_listing for each in wire.asked] == [True]
    assert watching.lines == [f"{action.uri}: 20 files there already"]


def test_a_file_more_sends_that_file_alone(tmp_path: Path, wire: Wire, request: pytest.FixtureRequest) -> None:
    files = {"one": b"1" * 50_000, "two": b"22"}
    bundle = bundle_of(tmp_path, files)
    uploads.upload(bundle, action_of(request, ("one",)), observer=Watching())
    wire.clear()
    watching = Watching()
    action = action_of(request, files)
    assert uploads.upload(bundle, action, observer=watching) == Uploaded(files_sent=1, bytes_sent=2, files_there=1)
    assert [key.rpartition("/")[2] for key in wire.puts()] == ["two"]
    assert (wire.sent, watching.lines) == (2, [f"{action.uri}: uploaded 1 file, 2 bytes; 1 there already"])


def test_an_object_of_another_size_is_replaced(
    tmp_path: Path, wire: Wire, endpoint: str, request: pytest.FixtureRequest
) -> None:
    files = {"one": b"whole", "two": b"2"}
    bundle, action = bundle_of(tmp_path, {**files, "one": b"ha"}), action_of(request, files)
    uploads.upload(bundle, action, observer=Watching())
    bundle_of(tmp_path, files)
    assert uploads.upload(bundle, action, observer=Watching()).files_sent == 1
    assert objects(endpoint, action) == files


def test_more_objects_than_a_listing_shows_at_once_are_all_known(
    tmp_path: Path, wire: Wire, request: pytest.FixtureRequest
) -> None:
    files = {f"{number:04}": b"x" for number in range(1005)}
    bundle, action = bundle_of(tmp_path, files), action_of(request, files)
    uploads.upload(bundle, action, observer=Watching())
    wire.clear()
    assert uploads.upload(bundle, action, observer=Watching()) == Uploaded(files_there=1005)
    assert (wire.listings(), len(wire.asked)) == (2, 2)


def test_s3_is_told_the_sha_256_of_every_object(tmp_path: Path, wire: Wire, request: pytest.FixtureRequest) -> None:
    bundle, action = bundle_of(tmp_path, {"one": b"hello"}), action_of(request, ("one",))
    uploads.upload(bundle, action, observer=Watching())
    (put,) = (each for each in wire.asked if each.method == "PUT")
    assert put.headers["x-amz-checksum-sha256"] == "LPJNul+wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ="


def test_what_was_damaged_on_the_way_is_refused_by_the_server(
    tmp_path: Path, wire: Wire, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    # As if the content changed after its digest was taken: the server must be the one to notice.
    monkeypatch.setattr(multipart, "checksum", lambda _: "LPJNul+wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ=")
    bundle, action = bundle_of(tmp_path, {"one": b"jello"}), action_of(request, ("one",))
    assert "BadDigest" in str(refused(bundle, action))


# ------------------------------------------------------------------------------------------------------------ in parts


@pytest.mark.usefixtures("small_parts")
def test_a_large_file_goes_in_parts_and_arrives_as_it_is(
    tmp_path: Path, wire: Wire, endpoint: str, request: pytest.FixtureRequest
) -> None:
    files = {"large é": os.urandom(17 * MIB + 1), "small": b"1"}
    bundle, action = bundle_of(tmp_path, files), action_of(request, files)
    sent = uploads.upload(bundle, action, observer=Watching())
    assert sent == Uploaded(files_sent=2, bytes_sent=17 * MIB + 2)
    assert sum(each.is_part for each in wire.asked) == 4
    assert objects(endpoint, action) == files
    wire.clear()
    assert uploads.upload(bundle, action, observer=Watching()) == Uploaded(files_there=2)


@pytest.mark.parametrize(
    ("size", "count", "length"),
    # 16 MiB each, until 10,000 of them are not enough: 160,000 MiB and a byte are 10,000 parts of at most 17 MiB.
    [(64 * MIB + 1, 5, 16 * MIB), (160_000 * MIB, 10_000, 16 * MIB), (160_000 * MIB + 1, 9412, 17 * MIB)],
)
def test_parts_cover_a_file_of_any_size_and_are_never_too_many(size: int, count: int, length: int) -> None:
    ranges = list(multipart._ranges(size))
    assert (len(ranges), ranges[0][2]) == (count, length)
    assert [number for number, _, _ in ranges] == list(range(1, count + 1))
    assert all(offset + taken == following for (_, offset, taken), (_, following, _) in itertools.pairwise(ranges))
    assert sum(taken for _, _, taken in ranges) == size


SENDER = """\
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[3])
from smtrain.aws import multipart
from smtrain.aws import uploads
from smtrain.spec import Upload
from submitting import Watching
multipart._PART, uploads._LARGE, uploads.PARALLEL = 5 << 20, 6 << 20, 1
uploads.upload(Path(sys.argv[1]), Upload(uri=sys.argv[2], files=(("large", "large"),)), observer=Watching())
"""


@pytest.mark.usefixtures("small_parts")
def test_an_upload_whose_process_was_killed_goes_on_where_it_stopped(
    tmp_path: Path, wire: Wire, endpoint: str, request: pytest.FixtureRequest
) -> None:
    files = {"large": os.urandom(23 * MIB)}
    bundle, action = bundle_of(tmp_path, files), action_of(request, files)
    arrived, over = threading.Event(), threading.Event()

    def stop_at_the_fourth_part(asked: Asked) -> str | None:
        if asked.query.get("partNumber") != "4":
            return None
        arrived.set()
        over.wait(30)
        return BREAK

    wire.fault = stop_at_the_fourth_part
    command = (sys.executable, "-c", SENDER, str(bundle), action.uri, str(Path(__file__).parent))
    sender = subprocess.Popen(command, env={**os.environ, **client_environment(wire.endpoint)})
    assert arrived.wait(30)
    sender.send_signal(signal.SIGKILL)
    sender.wait()
    over.set()
    assert sum(each.is_part for each in wire.asked) == 3
    wire.clear()
    assert uploads.upload(bundle, action, observer=Watching()) == Uploaded(files_sent=1, bytes_sent=8 * MIB)
    assert {each.query["partNumber"] for each in wire.asked if each.is_part} == {"4", "5"}
    assert objects(endpoint, action) == files


@pytest.mark.usefixtures("small_parts", "quick")
def test_who_may_not_list_unfinished_uploads_begins_anew(
    tmp_path: Path, wire: Wire, endpoint: str, request: pytest.FixtureRequest
) -> None:
    files = {"large": os.urandom(7 * MIB)}
    bundle, action = bundle_of(tmp_path, files), action_of(request, files)
    wire.fault = lambda asked: (
        Answer(status=403, code="AccessDenied") if "uploads" in asked.query and asked.method == "GET" else None
    )
    assert uploads.upload(bundle, action, observer=Watching()).bytes_sent == 7 * MIB
    assert objects(endpoint, action) == files


@pytest.mark.usefixtures("small_parts", "quick")
def test_an_upload_whose_completion_was_not_answered_is_found_complete(
    tmp_path: Path, wire: Wire, endpoint: str, request: pytest.FixtureRequest
) -> None:
    files = {"large": os.urandom(7 * MIB)}
    bundle, action = bundle_of(tmp_path, files), action_of(request, files)
    completions: list[Asked] = []

    def lose_the_first_answer(asked: Asked) -> Answer | str | None:
        if asked.method != "POST" or "uploadId" not in asked.query:
            return None
        completions.append(asked)
        # SeaweedFS would say yes again. S3 may have forgotten the upload: API reference of CompleteMultipartUpload.
        return LOST if len(completions) == 1 else Answer(status=404, code="NoSuchUpload")

    wire.fault = lose_the_first_answer
    assert uploads.upload(bundle, action, observer=Watching()).files_sent == 1
    assert len(completions) == 2
    assert objects(endpoint, action) == files


# ------------------------------------------------------------------------------------------------------------ failures


def failing(times: int, fault: Answer | str, method: str = "PUT") -> object:
    """Returns a rule by which each object fails so often before it comes through."""
    left: dict[str, int] = {}

    def rule(asked: Asked) -> Answer | str | None:
        if asked.method != method:
            return None
        left[asked.key] = left.get(asked.key, times) - 1
        return fault if left[asked.key] >= 0 else None

    return rule


@pytest.mark.parametrize(
    "fault",
    [
        Answer(status=503, code="SlowDown", message="Please reduce your request rate."),
        Answer(status=500, code="InternalError"),
        BREAK,
    ],
    ids=["throttled", "server error", "connection breaks in the middle"],
)
def test_what_passes_is_tried_again_with_jitter(  # noqa: PLR0917  # fixtures
    tmp_path: Path, wire: Wire, endpoint: str, quick: list[float], fault: Answer | str, request: pytest.FixtureRequest
) -> None:
    files = {f"file {number}": os.urandom(300_000) for number in range(5)}
    bundle, action = bundle_of(tmp_path, files), action_of(request, files)
    wire.fault = failing(3, fault)  # type: ignore[assignment]  # a test's own rule
    assert uploads.upload(bundle, action, observer=Watching()).files_sent == 5
    assert objects(endpoint, action) == files
    waited = [each for each in quick if each > 0.001]
    assert len(set(waited)) == len(waited) >= 10  # 15, but for one that happens to be next to nothing


def test_a_connection_that_breaks_in_the_middle_of_a_large_object_costs_a_part(
    tmp_path: Path, wire: Wire, endpoint: str, quick: list[float], request: pytest.FixtureRequest
) -> None:
    files = {"large": os.urandom(200 * 10**6)}
    bundle, action = bundle_of(tmp_path, files), action_of(request, files)
    broken = []

    def rule(asked: Asked) -> str | None:
        if asked.query.get("partNumber") == "6" and not broken:
            broken.append(asked)
            return BREAK
        return None

    wire.fault = rule
    watching = Watching()
    assert uploads.upload(bundle, action, observer=watching).bytes_sent == 200 * 10**6
    assert len(broken) == 1
    assert wire.sent == 200 * 10**6  # of what came through whole
    assert watching.lines == [
        f"{action.uri}: uploading 1 file, 200 MB",
        f"{action.uri}: uploaded 1 file, 200 MB",
    ]
    assert objects(endpoint, action) == files


def test_a_server_that_stays_overloaded_is_given_up_and_what_came_through_is_kept(
    tmp_path: Path, wire: Wire, quick: list[float], request: pytest.FixtureRequest
) -> None:
    files = {"good": b"1", "throttled": b"2"}
    bundle, action = bundle_of(tmp_path, files), action_of(request, files)
    wire.fault = lambda asked: (
        Answer(status=503, code="SlowDown") if "throttled" in asked.key.rpartition("/")[2] else None
    )
    error = refused(bundle, action)
    assert error.exit_code is ExitCode.REMOTE_REFUSED
    assert "s3:PutObject was refused: SlowDown" in str(error)
    assert len(quick) == aws.ATTEMPTS - 1
    wire.clear()
    assert uploads.upload(bundle, action, observer=Watching()) == Uploaded(files_sent=1, bytes_sent=1, files_there=1)


@pytest.mark.parametrize(
    ("refusal", "told"),
    [
        (lambda asked: asked.is_listing, "Allow s3:ListBucket on arn:aws:s3:::bucket1 to whoever runs smtrain"),
        (lambda asked: asked.method == "PUT", "Allow s3:PutObject on arn:aws:s3:::bucket1/some where/* to whoever"),
    ],
    ids=["list", "put"],
)
def test_who_is_denied_is_told_which_permission_on_what(
    tmp_path: Path, wire: Wire, refusal: object, told: str, request: pytest.FixtureRequest
) -> None:
    bundle, action = bundle_of(tmp_path, {"one": b"1"}), action_of(request, ("one",))
    denied = Answer(status=403, code="AccessDenied", message="Access Denied")
    wire.fault = lambda asked: denied if refusal(asked) else None  # type: ignore[operator]  # a lambda
    error = refused(bundle, action)
    assert error.exit_code is ExitCode.REMOTE_REFUSED
    assert told in str(error)


def test_a_permission_that_s3_names_itself_is_passed_on(
    tmp_path: Path, wire: Wire, request: pytest.FixtureRequest
) -> None:
    bundle, action = bundle_of(tmp_path, {"one": b"1"}), action_of(request, ("one",), kms_key="alias/mine")
    message = (
        "User: arn:aws:iam::123456789012:user/me is not authorized to perform: kms:GenerateDataKey on resource: "
        '"arn:aws:kms:us-east-1:123456789012:key/1" because no identity-based policy allows it'
    )
    wire.fault = lambda asked: (
        Answer(status=403, code="AccessDenied", message=message) if asked.method == "PUT" else None
    )
    assert "Allow kms:GenerateDataKey on arn:aws:kms:us-east-1:123456789012:key/1 to" in str(refused(bundle, action))


def test_a_bucket_of_another_region_is_refused_with_both_regions(
    tmp_path: Path, wire: Wire, request: pytest.FixtureRequest
) -> None:
    bundle, action = bundle_of(tmp_path, {"one": b"1"}), action_of(request, ("one",))
    moved = Answer(status=301, code="PermanentRedirect", headers={"x-amz-bucket-region": "eu-west-1"})
    wire.fault = lambda _: moved
    error = refused(bundle, action)
    assert "The bucket is in eu-west-1" in str(error)
    assert error.exit_code is ExitCode.REMOTE_REFUSED


def test_a_bucket_of_another_region_is_refused_even_though_boto3_finds_its_way(
    tmp_path: Path, wire: Wire, request: pytest.FixtureRequest
) -> None:
    bundle, action = bundle_of(tmp_path, {"one": b"1"}), action_of(request, ("one",))
    there = {"x-amz-bucket-region": "eu-west-1"}

    def rule(asked: Asked) -> Answer:
        if "/eu-west-1/s3/" in asked.headers["authorization"]:
            return Answer(status=200, headers=there)
        return Answer(status=301, code="PermanentRedirect", headers=there)

    wire.fault = rule
    error = refused(bundle, action)
    assert "The bucket `bucket1` is in eu-west-1, and the job's region is us-east-1" in str(error)
    assert "aws s3 mb s3://NAME --region us-east-1" in str(error)
    assert error.exit_code is ExitCode.REMOTE_REFUSED


def test_what_s3_does_not_list_afterwards_is_no_success(
    tmp_path: Path, wire: Wire, request: pytest.FixtureRequest
) -> None:
    bundle, action = bundle_of(tmp_path, {"one": b"1", "two": b"2"}), action_of(request, ("one", "two"))
    # A server that says yes and keeps nothing.
    wire.fault = lambda asked: Answer(status=200) if asked.key.endswith("two") else None
    error = refused(bundle, action)
    assert "S3 took 2 files, and does not list 1 of them as sent, e.g. `some where/" in str(error)
    assert error.exit_code is ExitCode.REMOTE_REFUSED


def test_a_failure_keeps_the_rest_from_being_sent(tmp_path: Path, wire: Wire, request: pytest.FixtureRequest) -> None:
    files = {f"{number:03}": b"x" for number in range(200)}
    bundle, action = bundle_of(tmp_path, files), action_of(request, files)
    wire.fault = lambda asked: Answer(status=403, code="AccessDenied") if asked.key.endswith("000") else None
    refused(bundle, action)
    assert len(wire.puts()) < 150


# ------------------------------------------------------------------------------------------------ moto: buckets, keys


@pytest.fixture
def moto(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    server = pytest.importorskip("moto.server", reason="moto is not installed; the extra `dev` brings it")
    running = server.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    running.start()
    host, port = running.get_host_and_port()
    aws_environment(monkeypatch, f"http://{host}:{port}")
    yield f"http://{host}:{port}"
    running.stop()


@pytest.mark.usefixtures("moto")
def test_a_bucket_that_does_not_exist_comes_with_the_command_that_makes_it(
    tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    bundle, action = (
        bundle_of(tmp_path, {"one": b"1"}),
        action_of(request, ("one",), uri="s3://no-such-bucket/store/1/"),
    )
    error = refused(bundle, action)
    assert "Make it: aws s3 mb s3://no-such-bucket --region us-east-1" in str(error)
    assert error.exit_code is ExitCode.REMOTE_REFUSED


@pytest.mark.usefixtures("small_parts")
def test_objects_are_encrypted_with_the_key_that_was_named(
    tmp_path: Path, moto: str, request: pytest.FixtureRequest
) -> None:
    import boto3

    client = boto3.client("s3", endpoint_url=moto)
    client.create_bucket(Bucket="bucket1")
    files = {"small": b"1", "large": b"x" * (7 * MIB)}
    bundle, action = bundle_of(tmp_path, files), action_of(request, files, kms_key="alias/mine")
    uploads.upload(bundle, action, observer=Watching())
    for name in files:
        key = action.uri.removeprefix("s3://bucket1/") + name
        head = client.head_object(Bucket="bucket1", Key=key)
        assert (head["ServerSideEncryption"], head["SSEKMSKeyId"]) == ("aws:kms", "alias/mine")
    bundle_of(tmp_path, {"plain": b"1"})
    plain = replace(action, files=(("plain", "plain"),), kms_key="")
    uploads.upload(bundle, plain, observer=Watching())
    head = client.head_object(Bucket="bucket1", Key=action.uri.removeprefix("s3://bucket1/") + "plain")
    assert head.get("ServerSideEncryption") != "aws:kms"
    assert json.dumps(head["Metadata"]) == "{}"
