"""The output of a training job's hosts, as CloudWatch Logs has it: merged by time, late hosts included."""

from __future__ import annotations

import threading
import time
from dataclasses import replace

import pytest

pytest.importorskip("boto3", reason="boto3 is not installed")

from smtrain_trainingjob.following import logs
from submitted_runs import request_of, run_of
from submitted_runs import submitted as submit

from smtrain.errors import SmtrainError
from smtrain.spec import LogLine, State

pytest_plugins = ("sagemaker_account",)

GROUP = logs.GROUP
QUICK = (0.05, 0.2)
BEGAN = int(time.time() * 1000) - 600_000


def put(account, stream, *events):
    """Writes (milliseconds after a moment that is the same for all, text) into a stream."""
    client = account.client("logs")
    found = client.describe_log_streams(logGroupName=GROUP, logStreamNamePrefix=stream)["logStreams"]
    if not found:
        client.create_log_stream(logGroupName=GROUP, logStreamName=stream)
    rows = [{"timestamp": BEGAN + offset, "message": text} for offset, text in events]
    client.put_log_events(logGroupName=GROUP, logStreamName=stream, logEvents=rows)


def read(run_dir, receipt, **options):
    return [(line.host, line.text) for line in logs.lines(run_dir, receipt, follow=False, **options)]


def test_lines_of_all_hosts_come_in_the_order_of_their_times(account, tmp_path):
    run = run_of(tmp_path, request_of("merged", hosts=2))
    put(account, "merged/algo-1-1700000000", (0, "a"), (200, "c"), (400, "e"))
    put(account, "merged/algo-2-1700000001", (100, "b"), (300, "d"))
    hosts = ["algo-1", "algo-2", "algo-1", "algo-2", "algo-1"]
    assert read(*run) == list(zip(hosts, "abcde", strict=True))


def test_a_single_host_is_not_named(account, tmp_path):
    run = run_of(tmp_path, request_of("single"))
    put(account, "single/algo-1-1700000000", (0, "alone"))
    assert read(*run) == [("", "alone")]


def test_a_job_whose_name_begins_the_same_is_another(account, tmp_path):
    run = run_of(tmp_path, request_of("twin"))
    put(account, "twin/algo-1-1", (0, "ours"))
    put(account, "twin-t2/algo-1-1", (1, "theirs"))
    assert read(*run) == [("", "ours")]


def test_earlier_tries_come_first_when_they_are_asked_for(account, tmp_path):
    run = run_of(tmp_path, request_of("tried"), job="tried-t2", tries=2)
    put(account, "tried-t2/algo-1-1", (0, "second"))
    put(account, "tried/algo-1-1", (10, "first"))
    assert read(*run) == [("", "second")]
    assert read(*run, every_try=True) == [("", "first"), ("", "second")]


def test_pages_without_end_are_read_to_the_end(account, tmp_path):
    run = run_of(tmp_path, request_of("paged"))
    for start in range(0, 12_000, 4_000):  # GetLogEvents gives 10,000 events at most
        put(account, "paged/algo-1-1", *((number, str(number)) for number in range(start, start + 4_000)))
    assert [text for _, text in read(*run)] == [str(number) for number in range(12_000)]


@pytest.mark.parametrize(
    ("message", "shown"),
    [
        ("10%|█\r20%|██\r30%|███", "30%|███"),
        ("done\r\n", "done"),
        ("\r\r\n", ""),
        ("{'loss': 1.2e-05}", "{'loss': 1.2e-05}"),
        ("[red]$(x) é 漢字[/]", "[red]$(x) é 漢字[/]"),
    ],
)
def test_a_line_is_shown_as_a_terminal_would_leave_it(message, shown, account, tmp_path):
    name = f"drawn-{message.encode().hex()}"[:60]
    run = run_of(tmp_path, request_of(name))
    put(account, f"{name}/algo-1-1", (0, message))
    assert read(*run) == [("", shown)]


def test_before_there_are_logs_there_are_no_lines(account, tmp_path):
    assert read(*run_of(tmp_path, request_of("nothing"))) == []
    account.client("logs").delete_log_group(logGroupName=GROUP)
    try:
        assert read(*run_of(tmp_path, request_of("nothing"))) == []
    finally:
        account.client("logs").create_log_group(logGroupName=GROUP)


def test_a_refusal_is_an_error(account, tmp_path):
    account.refuse("DescribeLogStreams", "AccessDeniedException")
    try:
        with pytest.raises(SmtrainError, match="logs:DescribeLogStreams"):
            read(*run_of(tmp_path, request_of("refused")))
    finally:
        account.refuse("DescribeLogStreams", None)


def test_a_job_is_followed_until_it_ends_with_nothing_lost_and_nothing_twice(account, tmp_path):
    script = "for n in 1 2 3 4 5 6; do echo $n; sleep 0.3; done; echo last"
    run_dir, receipt = submit(account, tmp_path, "followed", script, hosts=2)
    lines = list(logs.lines(run_dir, receipt, follow=True, poll_s=QUICK))
    ours = [line.text for line in lines if line.text.startswith("smtrain: ")]
    assert any(text.startswith("smtrain: Training") for text in ours)
    assert len(ours) == len(set(ours))
    for host in ("algo-1", "algo-2"):
        assert [line.text for line in lines if line.host == host] == [*"123456", "last"]
    assert account.client("sagemaker").describe_training_job(TrainingJobName="followed")["TrainingJobStatus"] == (
        "Completed"
    )


def test_lines_come_while_the_job_goes_on(account, tmp_path):
    script = f"echo early; until [[ -e {tmp_path}/go ]]; do sleep 0.1; done; echo late"
    run_dir, receipt = submit(account, tmp_path, "live", script)
    lines = logs.lines(run_dir, receipt, follow=True, poll_s=QUICK)
    assert any(line == LogLine(text="early") for line in lines)  # stops reading there
    (tmp_path / "go").touch()
    assert [line.text for line in lines if not line.text.startswith("smtrain: ")] == ["late"]


def test_a_stream_that_appears_late_is_picked_up(account, tmp_path):
    run_dir, receipt = submit(account, tmp_path, "late", f"until [[ -e {tmp_path}/go ]]; do sleep 0.1; done", hosts=2)
    put(account, "late/algo-1-1", (0, "first host"))
    seen = []
    follower = threading.Thread(
        target=lambda: seen.extend(logs.lines(run_dir, receipt, follow=True, poll_s=QUICK)), daemon=True
    )
    follower.start()
    time.sleep(0.5)
    put(account, "late/algo-2-1", (1, "second host"))
    (tmp_path / "go").touch()
    follower.join(60)
    assert [line for line in seen if line.host] == [
        LogLine(text="first host", host="algo-1"),
        LogLine(text="second host", host="algo-2"),
    ]


def test_what_comes_to_cloudwatch_after_the_end_is_read(account, tmp_path):
    run_dir, receipt = submit(account, tmp_path, "tardy", "echo early")
    account.wait("tardy")
    lines = logs.lines(run_dir, receipt, follow=True, poll_s=QUICK)
    assert any(line.text == "early" for line in lines)  # stops reading there
    put(account, "tardy/algo-1-9", (0, "tardy"))
    assert [line.text for line in lines] == ["tardy"]


def test_following_a_run_that_ended_reads_it_once(account, tmp_path):
    run_dir, receipt = run_of(tmp_path, request_of("over"))
    put(account, "over/algo-1-1", (0, "all of it"))
    ended = replace(receipt, state=State.FAILED)
    assert list(logs.lines(run_dir, ended, follow=True)) == [LogLine(text="all of it")]
