"""The example configurations of a LLaMA-Factory source distribution."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from omegaconf import OmegaConf

from smtrain.plugin import Dataset, Json

OTHER_ENGINES = ("examples/megatron/", "examples/v1/")
"""Of Megatron and of LLaMA-Factory's second generation, which take other arguments."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """One of its files; `training` is False for inference and export."""

    name: str
    args: dict[str, Json]
    training: bool
    zero_stage: int | None
    datasets: tuple[Dataset, ...]


def examples(sdist: Path) -> tuple[Example, ...]:
    """Returns every example that LLaMA-Factory's command reads, in the order of their names."""
    known = json.loads((sdist / "data" / "dataset_info.json").read_text(encoding="utf-8"))
    found = []
    for file in sorted(sdist.glob("examples/**/*.yaml")):
        name = file.relative_to(sdist).as_posix()
        args = OmegaConf.to_container(OmegaConf.load(file))
        if not name.startswith(OTHER_ENGINES) and isinstance(args, dict) and "model_name_or_path" in args:
            found.append(_example(sdist, name, args, known))
    return tuple(found)


def _example(sdist: Path, name: str, args: dict[str, Json], known: dict[str, dict[str, Json]]) -> Example:
    document = args.get("deepspeed")
    stage = json.loads((sdist / str(document)).read_text())["zero_optimization"]["stage"] if document else None
    return Example(
        name=name,
        args=args,
        training="do_train" in args or "do_predict" in args,
        zero_stage=stage,
        datasets=tuple(
            _dataset(one.strip(), role, known)
            for role, argument in (("train", "dataset"), ("eval", "eval_dataset"))
            for one in str(args.get(argument) or "").split(",")
            if one
        ),
    )


def _dataset(name: str, role: str, known: dict[str, dict[str, Json]]) -> Dataset:
    entry = known.get(name, {})  # some examples name data sets that nobody else has
    columns = entry.get("columns", {})
    return Dataset(
        name=name,
        role=role,
        key=f"data.{name}",
        source="file" if "file_name" in entry else "hub",
        location=name,
        ranking=bool(entry.get("ranking")),
        columns=columns if isinstance(columns, dict) else {},
    )
