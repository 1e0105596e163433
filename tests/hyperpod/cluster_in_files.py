"""A kubectl that answers from files, in the words and forms of the real one, where there is no cluster to ask.

`job.json` and `pods.json` are what `get` prints; `POD.log` and `POD.previous.log` are what `logs --timestamps` prints;
`--follow` goes on until `POD.closed` is there, which a test makes when the container ends or the connection breaks.
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from smtrain.spec import Json

PROGRAM = r"""#!/usr/bin/env bash
set -euo pipefail
cd -- "$CLUSTER"
while [[ ${1-} == --context=* || ${1-} == --namespace=* ]]; do shift; done
printf '%s\n' "$*" >>calls
case $1 in
get)
  kind=$2 name=${3-}
  if [[ $name == --* ]]; then name=; fi
  if [[ $kind == pods ]]; then
    cat pods.json
  elif [[ -z $name ]]; then
    cat "$kind.json" 2>/dev/null || echo '{"items": []}'
  elif [[ -e $kind.$name.json ]]; then
    cat "$kind.$name.json"
  elif [[ $kind == *jobs.* ]]; then
    cat job.json 2>/dev/null || true
  fi ;;
config) printf 'https://cluster.example' ;;
version) echo '{"serverVersion": {"gitVersion": "v1.31.0"}}' ;;
api-resources) cat api-resources 2>/dev/null || true ;;
auth) if grep -qxF "$3 $4" may-not 2>/dev/null; then echo no; exit 1; else echo yes; fi ;;
kustomize) exec "$REAL_KUBECTL" "$@" ;;
apply) cat >>applied; echo >>applied ;;
create)
  if [[ -e refusal ]]; then cat refusal >&2; exit 1; fi
  cat >created
  sed 's/"metadata": {/"metadata": {"uid": "uid-1", /' created | tee job.json ;;
delete) touch deleted; [[ -x on_delete ]] && ./on_delete || true ;;
logs)
  pod=$2 since= follow= life=
  for word in "$@"; do
    case $word in
    --since-time=*) since=${word#*=} ;;
    --follow) follow=1 ;;
    --previous) life=.previous ;;
    esac
  done
  [[ -e $pod$life.log ]] || { echo "previous terminated container not found" >&2; exit 1; }
  shown=0
  while :; do
    closed=; if [[ -e $pod.closed ]]; then closed=1; fi
    total=$(wc -l <"$pod$life.log")
    sed -n "$((shown + 1)),${total}p" "$pod$life.log" | while IFS= read -r line; do
      # Whole seconds, as the server counts them: what came within the same second is sent again.
      if [[ -z $since || ! ${line:0:19} < ${since:0:19} ]]; then printf '%s\n' "$line"; fi
    done
    shown=$total
    if [[ -z $follow || -n $closed ]]; then exit 0; fi
    sleep 0.05
  done ;;
esac
"""


class Cluster:
    """The files that kubectl answers from."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.pods: dict[str, dict[str, Json]] = {}
        self.say_pods()

    def say_job(self, *conditions: str) -> None:
        """Says of the job that these conditions hold."""
        said: list[Json] = [{"type": kind, "status": "True"} for kind in conditions]
        self._write("job.json", {"kind": "PyTorchJob", "metadata": {}, "status": {"conditions": said}})

    def say_pod(self, name: str, state: str, *, restarts: int = 0) -> None:
        """Says of a pod that its container is in a state: waiting, running or terminated."""
        container: Json = {"name": "pytorch", "restartCount": restarts, "state": {state: {"reason": state}}}
        self.pods[name] = {"metadata": {"name": name}, "status": {"containerStatuses": [container]}}
        self.say_pods()

    def say_pods(self) -> None:
        self._write("pods.json", {"kind": "List", "items": list(self.pods.values())})

    def say(self, name: str, document: Json) -> None:
        """Says what `get` of a kind, or of KIND.NAME, prints."""
        self._write(f"{name}.json", document)

    def log(self, pod: str, second: int, text: str, *, previous: bool = False) -> None:
        """Adds a line to a pod's log, written that many seconds after the full minute."""
        with (self.folder / f"{pod}{'.previous' if previous else ''}.log").open("a") as file:
            file.write(f"2026-11-29T01:00:{second:02}.{file.tell():09}Z {text}\n")

    def close(self, pod: str) -> None:
        (self.folder / f"{pod}.closed").touch()

    def reopen(self, pod: str) -> None:
        (self.folder / f"{pod}.closed").unlink()

    def calls(self) -> list[str]:
        path = self.folder / "calls"
        return path.read_text().splitlines() if path.exists() else []

    def _write(self, name: str, document: Json) -> None:
        new = self.folder / f".{name}"
        new.write_text(json.dumps(document))
        new.replace(self.folder / name)


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cluster:
    """A cluster in files, and a kubectl on PATH that knows it."""
    programs, folder = tmp_path / "programs", tmp_path / "cluster"
    programs.mkdir()
    folder.mkdir()
    program = programs / "kubectl"
    program.write_text(PROGRAM)
    program.chmod(0o755)
    monkeypatch.setenv("REAL_KUBECTL", shutil.which("kubectl") or "")
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    monkeypatch.setenv("CLUSTER", str(folder))
    return Cluster(folder)
