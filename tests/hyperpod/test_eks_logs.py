"""The logs of all pods are followed, those of pods that come later and of containers that are started anew, too."""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest
from cluster_in_files import Cluster, cluster
from smtrain_hyperpod.eks import submission
from smtrain_hyperpod.eks.following import fetch, logs, stop
from submitting import Watching
from test_eks_status import RUN, SUBMITTED

from smtrain.errors import ExitCode, SmtrainError
from smtrain.spec import LogLine, State

__all__ = ["cluster"]


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    bundle = tmp_path / "run" / "bundle"
    bundle.mkdir(parents=True)
    (bundle / submission.FILE).write_bytes(submission.render(SUBMITTED))
    return bundle.parent


class Following:
    """`smtrain logs -f`, in a thread."""

    def __init__(self, run_dir: Path) -> None:
        self.lines: list[LogLine] = []
        self._seen = threading.Condition()
        self._thread = threading.Thread(target=self._follow, args=(run_dir,))
        self._thread.start()

    def _follow(self, run_dir: Path) -> None:
        for line in logs.lines(run_dir, RUN, follow=True, poll_s=0.1):
            with self._seen:
                self.lines.append(line)
                self._seen.notify_all()

    def until(self, text: str) -> None:
        with self._seen:
            assert self._seen.wait_for(lambda: any(line.text == text for line in self.lines), 20), self.lines

    def end(self) -> list[LogLine]:
        self._thread.join(20)
        assert not self._thread.is_alive()
        return self.lines


def test_what_was_written_is_merged_by_time_with_the_last_life_of_a_restarted_container(
    cluster: Cluster, run_dir: Path
) -> None:
    cluster.say_pod("a", "running", restarts=1)
    cluster.say_pod("b", "terminated")
    cluster.say_pod("c", "waiting")
    cluster.log("a", 1, "first try", previous=True)
    cluster.log("b", 2, "of b")
    cluster.log("a", 3, "[default0]:second try")
    found = list(logs.lines(run_dir, RUN, follow=False))
    assert found == [
        LogLine(text="first try", host="a"),
        LogLine(text="of b", host="b"),
        LogLine(text="second try", host="a"),
    ]


def test_pods_that_come_later_are_followed_until_the_job_ends(cluster: Cluster, run_dir: Path) -> None:
    cluster.say_job("Created")
    cluster.say_pod("a", "running")
    cluster.log("a", 1, "of a")
    following = Following(run_dir)
    following.until("of a")
    cluster.say_job("Created", "Running")
    cluster.log("b", 2, "of b")
    cluster.say_pod("b", "running")
    following.until("of b")
    cluster.log("b", 3, "last words")
    cluster.close("a")
    cluster.close("b")
    cluster.say_job("Created", "Succeeded")
    lines = following.end()
    assert LogLine(text="last words", host="b") in lines
    assert [line.text for line in lines if not line.host] == [
        "smtrain: Created", "smtrain: Running", "smtrain: Succeeded",
    ]  # fmt: skip


def test_a_broken_connection_is_taken_up_without_a_line_twice_and_a_restart_from_its_beginning(
    cluster: Cluster, run_dir: Path
) -> None:
    cluster.say_job("Running")
    cluster.say_pod("a", "running")
    cluster.log("a", 1, "one")
    cluster.log("a", 1, "two")
    following = Following(run_dir)
    following.until("two")
    cluster.close("a")
    while sum("logs a" in call for call in cluster.calls()) < 2:
        time.sleep(0.05)
    cluster.reopen("a")
    cluster.log("a", 1, "three")
    following.until("three")
    assert any("--since-time=2026-11-29T01:00:01" in call for call in cluster.calls())
    cluster.close("a")
    cluster.say_job("Failed")
    texts = [line.text for line in following.end() if line.host]
    assert texts == ["one", "two", "three"]


def test_stopping_deletes_the_job_and_keeps_what_its_pods_say_while_they_end(cluster: Cluster, run_dir: Path) -> None:
    cluster.say_job("Running")
    cluster.say_pod("a", "running")
    cluster.log("a", 1, "training")
    last = cluster.folder / "on_delete"
    last.write_text(
        "#!/usr/bin/env bash\n(sleep 0.5; echo '2026-11-29T01:00:09Z saving' >>a.log; sleep 0.5; touch a.closed;"
        " sleep 0.3; echo '{\"items\": []}' >.new; mv .new pods.json) >/dev/null 2>&1 &\n"
    )
    last.chmod(0o755)
    receipt = stop.stop(run_dir, RUN, poll_s=0.2)
    assert receipt.state is State.STOPPED
    assert receipt.reason == ""
    assert any(call.startswith("delete pytorchjobs.kubeflow.org run-0123456789") for call in cluster.calls())
    assert list(logs.lines(run_dir, receipt, follow=False)) == [
        LogLine(text="training", host="a"), LogLine(text="saving", host="a"),
    ]  # fmt: skip


def test_a_run_that_has_ended_is_not_stopped_again(cluster: Cluster, run_dir: Path) -> None:
    cluster.say_job("Succeeded")
    assert stop.stop(run_dir, RUN).state is State.SUCCEEDED
    assert not any(call.startswith("delete") for call in cluster.calls())


def test_results_on_a_volume_are_not_fetched_and_it_is_said_where_they_are(run_dir: Path) -> None:
    on_volume = replace(SUBMITTED, output_uri="", output_folder="/fsx/runs/run-0123456789")
    (run_dir / "bundle" / submission.FILE).write_bytes(submission.render(on_volume))
    with pytest.raises(SmtrainError) as raised:
        fetch.fetch(run_dir, RUN, parts=("model",), observer=Watching())
    (problem,) = raised.value.problems
    assert "/fsx/runs/run-0123456789" in problem.what
    assert problem.code is ExitCode.MISSING_HERE


def test_a_bundle_that_is_damaged_says_which_job_it_was(run_dir: Path) -> None:
    (run_dir / "bundle" / submission.FILE).write_text('{"kind": 1}')
    with pytest.raises(SmtrainError) as raised:
        stop.stop(run_dir, RUN)
    assert "submission.json" in str(raised.value)
