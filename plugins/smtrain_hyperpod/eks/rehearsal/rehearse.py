"""Rehearsing: each pod is a process of this machine, with the files, the command and the variables of a real one."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import cast

from smtrain.plugin import Json, Observer, Problem, Receipt, Rehearsal, SmtrainError, State, receipts, shell
from smtrain_hyperpod.eks import operators, submission
from smtrain_hyperpod.eks.following.conditions import CONSEQUENCES
from smtrain_hyperpod.eks.rehearsal import mount
from smtrain_hyperpod.eks.rehearsal.processes import PodProcess, Running
from smtrain_hyperpod.eks.submission import Submission

_OF_THE_MACHINE = frozenset(
    {"HOME", "LANG", "LC_ALL", "PATH", "TMPDIR", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CUDA_VISIBLE_DEVICES"}
)
_PREFIXES = ("AWS_", "HF_", "S3_", "NVIDIA_", "http_", "https_", "no_", "HTTP_", "HTTPS_", "NO_")
_LEFT_OUT = (
    "smtrain: left out: the image, its operator and what decides where pods go; "
    "pods share this machine's network, memory and /dev/shm"
)


def rehearse(run_dir: Path, rehearsal: Rehearsal, *, env: Mapping[str, str], observer: Observer) -> Receipt:
    """Executes the bundle in `run_dir/bundle`; the arguments are those of `smtrain.plugin.Rehearses`.

    Raises:
      SmtrainError: the bundle is damaged, or an input is none of its own.
    """
    bundle = run_dir / "bundle"
    started = Receipt(run_id=run_dir.name, backend="hyperpod_eks", state=State.RUNNING, started=time.time())
    submitted = submission.read(run_dir, started)
    template = mount.template(bundle)
    own = {**_environment(env), **_uploaded(bundle), **_given(bundle, submitted, rehearsal)}
    own |= _variables(template, env)
    for line in (_LEFT_OUT, *_volumes(template), *_secrets(template, env)):
        observer.line(line)
    running = Running(on_line=lambda pod, text: observer.line(f"{pod}  {text}"))
    port = _free_port()
    pods = [_pod(run_dir, submitted, rank, port=port, own=own) for rank in range(submitted.nodes)]
    stopped = timed_out = False
    try:
        for pod in pods:
            running.start(pod)
        timed_out = not running.wait(rehearsal.timeout_s)
    except KeyboardInterrupt:
        stopped = True
    finally:
        running.end()
    kept = list(_kept(run_dir))
    for line in kept:
        observer.line(line)
    ended = _receipt(started, running.codes, pods, stopped=stopped, timed_out=timed_out, kept=bool(kept))
    receipts.write(run_dir, ended)
    return ended


def results(run_dir: Path) -> Path:
    """Returns the folder of a rehearsal that stands for where the results go."""
    return (run_dir / "results").absolute()


def _pod(run_dir: Path, submitted: Submission, rank: int, *, port: int, own: Mapping[str, str]) -> PodProcess:
    name = f"pod-{rank}"
    folder = (run_dir / "pods" / name).absolute()
    files = folder / "files"
    files.mkdir(parents=True, exist_ok=True)
    mount.mount(run_dir / "bundle", files)
    (folder / "termination-log").touch()
    results(run_dir).mkdir(exist_ok=True)
    place = {"SMTRAIN_OUTPUT_URI": str(results(run_dir))} if submitted.output_uri else {}
    place |= {} if submitted.output_uri else {"SMTRAIN_OUTPUT_DIR": str(results(run_dir) / "output")}
    env = {
        **own,
        **operators.of_kind(submitted.kind).told(rank, submitted.nodes, "127.0.0.1", port),
        **place,
        "SMTRAIN_HOST": name,
        "SMTRAIN_SCRATCH_DIR": str(folder / "scratch"),
        "SMTRAIN_FAILURE_FILE": str(folder / "termination-log"),
        "SMTRAIN_RESUME": "never",
        "GLOO_SOCKET_IFNAME": "lo",
        "NCCL_SOCKET_IFNAME": "lo",
    }
    return PodProcess(name=name, command=("bash", str(files / "launch.sh")), env=env, folder=folder)


def _environment(env: Mapping[str, str]) -> dict[str, str]:
    """Returns what stands for the image's own environment: little, since the image will not have this machine's."""
    kept = {name: env[name] for name in env if name in _OF_THE_MACHINE or name.startswith(_PREFIXES)}
    python = env.get("SMTRAIN_PYTHON", "")
    if "/" in python:
        kept["PATH"] = f"{python.rpartition('/')[0]}:{kept.get('PATH', '')}"
    return kept


def _variables(template: Mapping[str, Json], machine: Mapping[str, str]) -> dict[str, str]:
    """Returns the container's variables; a secret is this machine's variable of the same name."""
    found = {}
    for variable in _env(template):
        name = str(variable["name"])
        if "value" in variable:
            found[name] = str(variable["value"]).replace("$$", "$")
        elif _is_secret(variable):
            found[name] = machine.get(name, "")
    return found


def _env(template: Mapping[str, Json]) -> list[dict[str, Json]]:
    spec = cast("dict[str, Json]", template["spec"])
    (container,) = cast("list[dict[str, Json]]", spec["containers"])
    return cast("list[dict[str, Json]]", container["env"])


def _is_secret(variable: Mapping[str, Json]) -> bool:
    source = variable.get("valueFrom")
    return isinstance(source, dict) and "secretKeyRef" in source


def _secrets(template: Mapping[str, Json], env: Mapping[str, str]) -> Iterator[str]:
    absent = [str(each["name"]) for each in _env(template) if _is_secret(each) and str(each["name"]) not in env]
    if absent:
        yield f"smtrain: left out: the secrets {', '.join(absent)}; variables of this machine stand in for them"


def _volumes(template: Mapping[str, Json]) -> Iterator[str]:
    spec = cast("dict[str, Json]", template["spec"])
    (container,) = cast("list[dict[str, Json]]", spec["containers"])
    mounts = cast("list[dict[str, Json]]", container["volumeMounts"])
    own = [str(each["mountPath"]) for each in mounts if not str(each["name"]).startswith("smtrain-")]
    if own:
        yield f"smtrain: left out: the volumes at {', '.join(own)}; --input NAME=PATH stands in for an input on one"


def _uploaded(bundle: Path) -> dict[str, str]:
    """Returns the variables of inputs that a submission would upload: they are in the bundle."""
    manifest = json.loads((bundle / "manifest.json").read_text(encoding="utf-8"))
    sent = {
        f"{action['uri']}{key}": bundle.absolute() / path
        for action in manifest["actions"]
        if action["do"] == "upload"
        for path, key in action["files"]
    }
    found = {}
    for item in _inputs(bundle):
        uri = str(item["uri"])
        below = [(key, path) for key, path in sent.items() if key == uri or key.startswith(f"{uri.rstrip('/')}/")]
        if below:
            key, path = below[0]
            inside = Path(key.removeprefix(uri.rstrip("/")).lstrip("/"))
            found[str(item["variable"])] = str(path if key == uri else path.parents[len(inside.parts) - 1])
    return found


def _given(bundle: Path, submitted: Submission, rehearsal: Rehearsal) -> dict[str, str]:
    """Returns the variables of inputs that something of this machine stands in for."""
    known = {str(item["name"]) for item in _inputs(bundle)} | set(submitted.in_place)
    problems = [
        Problem(key="", what=f"The program has no input `{name}`.", fix=f"It has {', '.join(sorted(known)) or 'none'}.")
        for name in sorted(set(rehearsal.inputs) - known)
    ]
    if problems:
        raise SmtrainError(problems)
    return {shell.input_variable(name): str(path) for name, path in rehearsal.inputs.items()}


def _inputs(bundle: Path) -> list[dict[str, Json]]:
    document = json.loads((bundle / "agent.json").read_text(encoding="utf-8"))
    return cast("list[dict[str, Json]]", document["inputs"])


def _free_port() -> int:
    """Returns a port that is free, and the next one, too, on which the agents talk."""
    while True:
        with socket.socket() as first, socket.socket() as second:
            first.bind(("", 0))
            port = int(first.getsockname()[1])
            try:
                second.bind(("", port + 1))
            except (OSError, OverflowError):
                continue
            return port


def _kept(run_dir: Path) -> Iterator[str]:
    sizes: dict[str, list[int]] = {}
    for path in sorted(path for path in results(run_dir).rglob("*") if path.is_file()):
        parts = path.relative_to(results(run_dir)).parts
        sizes.setdefault("/".join(parts[: 3 if parts[0] == "checkpoints" else 2]), []).append(path.stat().st_size)
    for name, found in sizes.items():
        yield f"smtrain: would keep {name}: {len(found)} files, {sum(found) / 1e6:,.1f} MB"


def _receipt(
    receipt: Receipt, codes: Mapping[str, int], pods: list[PodProcess], *, stopped: bool, timed_out: bool, kept: bool
) -> Receipt:
    bad = {pod.name: codes.get(pod.name, 1) for pod in pods if codes.get(pod.name, 1)}
    causes = {name: code for name, code in bad.items() if code not in CONSEQUENCES} or bad
    state, reason, code = State.SUCCEEDED, "", 0
    if stopped:
        state, code = State.STOPPED, next(iter(causes.values()), 0)
    elif timed_out:
        state, code = State.FAILED, next(iter(causes.values()), 1)
        reason = "It did not end in time; --timeout SECONDS gives it more."
    elif causes:
        state, (name, code) = State.FAILED, next(iter(causes.items()))
        said = (next(pod for pod in pods if pod.name == name).folder / "termination-log").read_text(encoding="utf-8")
        reason = f"{name}: {said.strip()}".rstrip(": ")
    elif not kept:
        state, reason = State.FAILED, "The job completed, and nothing would have been kept of it."
    return replace(receipt, state=state, reason=reason, exit_code=code, ended=time.time(), hosts=len(pods))
