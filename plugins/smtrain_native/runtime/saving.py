"""The trained model, as transformers and peft save theirs: safetensors, with configuration and tokenizer beside it."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

import torch

from smtrain_native.runtime.engine import Engine
from smtrain_native.runtime.processes import Processes
from smtrain_native.runtime.settings import Settings

_TOKENIZER_FILES = (
    "tokenizer.json", "tokenizer.model", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json",
    "vocab.json", "merges.txt", "chat_template.jinja", "chat_template.json",
)  # fmt: skip


def save(engine: Engine, settings: Settings, processes: Processes) -> None:
    """Writes the trained model, or its adapter, into the output folder; the first process does, all take part."""
    weights = engine.weights()
    if processes.is_first:
        output = Path(settings.output_dir)
        # A full model goes out in the precision that it computed in; an adapter as it was trained.
        dtype = torch.bfloat16 if settings.training.precision == "bf16" else torch.float32
        whole = settings.tuning.kind == "full"
        # Contiguous copies: what is saved must not be changed by who saves it.
        kept: Mapping[str, torch.Tensor] = {
            name: each.to(dtype if whole and each.is_floating_point() else each.dtype) for name, each in weights.items()
        }
        engine.model.model.save_pretrained(output, state_dict=dict(kept), safe_serialization=True)
        save_tokenizer(settings, output)
    processes.wait()


def save_tokenizer(settings: Settings, output: Path) -> None:
    """Copies the tokenizer's files as they are; of a repository, saves what transformers loads."""
    folder = Path(settings.model.path)
    if folder.is_dir():
        for name in _TOKENIZER_FILES:
            if (folder / name).is_file():
                shutil.copyfile(folder / name, output / name)
        return
    from transformers import AutoTokenizer

    where = {"revision": settings.model.revision, "trust_remote_code": settings.model.trust_remote_code}
    AutoTokenizer.from_pretrained(settings.model.path, **where).save_pretrained(output)
