"""Takes what was trained to where it is kept, after success."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterable
from pathlib import Path

from smtrain.agent import folders, transfers
from smtrain.agent.ending import AgentCode, AgentError, files_of, say
from smtrain.agent.folders import File
from smtrain.agent.node import Node
from smtrain.agent.plan import Plan, PlannedOutput
from smtrain.agent.store import Store, Transfer


def keep(plan: Plan, node: Node, store: Store | None) -> None:
    """Uploads the outputs, without their checkpoints, and copies those that the platform's model folder is to have.

    Args:
      plan: says which.
      node: says where they are.
      store: where they go; None for nowhere.

    Raises:
      AgentError: something could not be stored.
    """
    for output in plan.outputs:
        files = tuple(_results(output, node.outputs / output.name))
        if store is not None and (plan.upload.model or not output.model):
            _upload(output, files, node, store)
        if output.name in plan.upload.model_dir:
            _copy(output, files, node, single=len(plan.upload.model_dir) == 1)


def _results(output: PlannedOutput, folder: Path) -> Iterable[File]:
    if not folder.is_dir():
        return ()
    found = folders.files(folder)
    if found is None:
        raise AgentError(AgentCode.TRANSFER, f"output {output.name}: {folder} cannot be read")
    return (file for file in found if not folders.is_checkpoint(output, _first(file)))


def _first(file: File) -> str:
    name, slash, _ = file.path.partition("/")
    return name if slash else ""


def _upload(output: PlannedOutput, files: tuple[File, ...], node: Node, store: Store) -> None:
    if not files:
        say(f"output {output.name} is empty")
        return
    began, prefix = time.monotonic(), f"{node.output_uri}/output/{output.name}/"
    folder = node.outputs / output.name
    wanted = tuple(Transfer(uri=prefix + file.path, path=folder / file.path, size=file.size) for file in files)
    try:
        transfers.upload(store, wanted, prefix)
    except AgentError as error:
        code = error.code if error.code in {AgentCode.DISK_FULL} else AgentCode.TRANSFER
        reason = f"output {output.name} could not be stored: {error.reason}"
        raise AgentError(code, reason, f"it is in {folder} of {node.host}, as long as that is there") from error
    size = sum(file.size for file in files)
    seconds = time.monotonic() - began
    say(f"output {output.name}: {files_of(len(files))}, {size / 1e6:.0f} MB, {seconds:.1f} s to {prefix}")


def _copy(output: PlannedOutput, files: tuple[File, ...], node: Node, *, single: bool) -> None:
    if node.model_dir is None:
        raise AgentError(
            AgentCode.BAD_PLAN, f"output {output.name} is to be copied, and no SMTRAIN_PLATFORM_MODEL_DIR is set"
        )
    target = node.model_dir if single else node.model_dir / output.name
    try:
        for file in files:
            place = target / file.path
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(node.outputs / output.name / file.path, place)
    except OSError as error:
        raise AgentError(
            AgentCode.TRANSFER, f"output {output.name} could not be copied to {target}: {error}"
        ) from error
