"""LLaMA-Factory's own DeepSpeed and accelerate documents are documents that users bring along."""

from __future__ import annotations

from pathlib import Path

from strategy_jobs import make_job

from smtrain import accelerate_check
from smtrain.deepspeed_check import Document, kind_of, read
from smtrain.strategy_check import check

KINDS = {
    "ds_z0_config.json": "ddp",
    "ds_z2_autotp_config.json": "zero2",
    "ds_z2_config.json": "zero2",
    "ds_z2_offload_config.json": "zero2_offload",
    "ds_z3_config.json": "zero3",
    "ds_z3_fp8_config.json": "zero3_offload",
    "ds_z3_offload_config.json": "zero3_offload",
}


def test_every_deepspeed_document_passes_as_the_strategy_it_is(llamafactory_sdist: Path) -> None:
    seen = {}
    for path in (llamafactory_sdist / "examples" / "deepspeed").glob("*.json"):
        document = read(path.read_bytes(), source=path.name)
        assert isinstance(document, Document)
        seen[path.name] = kind = kind_of(document)
        job = make_job(str(kind), document=path.name, content=path.read_bytes())
        assert [str(problem) for problem in check(job) if problem.is_error] == []
    assert seen == KINDS


def test_every_accelerate_document_passes(llamafactory_sdist: Path) -> None:
    paths = sorted((llamafactory_sdist / "examples" / "accelerate").glob("*.yaml"))
    assert paths
    for path in paths:
        job = make_job("fsdp", "accelerate", accelerator="gpu", document=path.name, content=path.read_bytes())
        assert [str(problem) for problem in check(job) if problem.is_error] == [], accelerate_check.VERSION
