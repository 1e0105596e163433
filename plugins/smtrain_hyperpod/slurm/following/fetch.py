"""Bringing results here: from the shared file system through the login node, or from S3."""

from __future__ import annotations

import fnmatch
from dataclasses import dataclass
from pathlib import Path

from smtrain.plugin import ExitCode, Observer, Receipt, aws, fail, runs, s3_results
from smtrain_hyperpod.slurm.following import submitted
from smtrain_hyperpod.slurm.following.submitted import KeptOutput, Target
from smtrain_hyperpod.transport.login_node import LoginNode
from smtrain_hyperpod.transport.reached import login_node

# Of checkpoints, those that have their last file are whole.
_LIST = r"""
cd -- "$1" 2>/dev/null || exit 0
for name in * .[!.]*; do
  [[ -e $name ]] || continue
  whole=whole
  [[ -z $2 || -e $name/$2 ]] || whole=part
  printf '%s %s\0' "$whole" "$name"
done
"""


def fetch(run_dir: Path, receipt: Receipt, *, parts: tuple[str, ...], observer: Observer) -> tuple[Path, ...]:
    """Fetches results, and returns the files and folders that are there now.

    Args:
      run_dir: the run's folder.
      receipt: its receipt.
      parts: of "model", "checkpoints", "metrics".
      observer: is told what is fetched, and what there is none of.

    Raises:
      SmtrainError: the cluster, or S3, cannot be reached, or refused; asking again goes on.
    """
    target = submitted.read(run_dir, receipt)
    results = _from_s3(run_dir, target, observer) if target.output_uri else _from_cluster(run_dir, target, observer)
    fetchers = {"model": results.model, "checkpoints": results.checkpoints, "metrics": results.metrics}
    return tuple(path for part, fetcher in fetchers.items() if part in parts for path in fetcher())


def _from_s3(run_dir: Path, target: Target, observer: Observer) -> s3_results.Results:
    return s3_results.Results(
        client=aws.Client("s3", target.region),
        output_uri=target.output_uri,
        run_dir=run_dir,
        progress=_progress(run_dir, target),
        observer=observer,
    )


def _from_cluster(run_dir: Path, target: Target, observer: Observer) -> _OnCluster:
    login = login_node(target.login, key="backend.login")
    return _OnCluster(run_dir=run_dir, target=target, login=login, observer=observer)


def _progress(run_dir: Path, target: Target) -> Path | None:
    return run_dir / runs.WORK / target.progress if target.progress else None


@dataclass(frozen=True, slots=True, kw_only=True)
class _OnCluster:
    """Results on the shared file system."""

    run_dir: Path
    target: Target
    login: LoginNode
    observer: Observer

    def model(self) -> tuple[Path, ...]:
        return tuple(
            path
            for output in self.target.outputs
            for name, _ in self._names(output)
            if not _is_checkpoint(output, name)
            for path in self._fetch(output, name)
        )

    def checkpoints(self) -> tuple[Path, ...]:
        found = tuple(
            path
            for output in self.target.outputs
            for name, whole in self._names(output)
            if whole and _is_checkpoint(output, name)
            for path in self._fetch(output, name)
        )
        if not found:
            self.observer.line(f"smtrain: there is no whole checkpoint in {self.target.output}")
        return found

    def metrics(self) -> tuple[Path, ...]:
        place = _progress(self.run_dir, self.target)
        if place is None:
            return ()
        there = f"{self.target.run}/node-0/work/{self.target.progress}"
        if not self.login.read({there: 0}, limit=1):
            self.observer.line(f"smtrain: there is no progress at {there}")
            return ()
        return self.login.fetch(there, place, observer=self.observer)

    def _names(self, output: KeptOutput) -> list[tuple[str, bool]]:
        """Returns what an output holds: name, and whether it would be whole as a checkpoint."""
        folder = f"{self.target.output}/{output.name}"
        done = self.login.run(("bash", "-c", _LIST, "list", folder, output.complete))
        if done.code:
            what = f"{self.login.name}: {folder} cannot be listed: {done.stderr.strip()}"
            raise fail(what, code=ExitCode.REMOTE_REFUSED)
        rows = (row.partition(" ") for row in done.stdout.split("\0") if row)
        return [(name, whole == "whole") for whole, _, name in rows]

    def _fetch(self, output: KeptOutput, name: str) -> tuple[Path, ...]:
        place = self.run_dir / "output" / output.name / name
        place.parent.mkdir(parents=True, exist_ok=True)
        self.login.fetch(f"{self.target.output}/{output.name}/{name}", place, observer=self.observer)
        return (place,)


def _is_checkpoint(output: KeptOutput, name: str) -> bool:
    return bool(output.glob) and fnmatch.fnmatchcase(name, output.glob)
