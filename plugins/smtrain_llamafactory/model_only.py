"""What merging and serving share: a model, perhaps an adapter, and no training."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import cast

from smtrain.plugin import Input, Job, Json, Problem
from smtrain_llamafactory import arguments, derived, document, places, rules
from smtrain_llamafactory.options import Arguments, ModelOnlyOptions
from smtrain_llamafactory.owned import contradictions


def check(job: Job, options: ModelOnlyOptions, more: Mapping[str, object]) -> Iterator[Problem]:
    """Yields what is wrong with the arguments.

    Args:
      job: the job.
      options: of the trainer.
      more: arguments that the trainer itself adds.
    """
    if options.version not in arguments.KNOWN_VERSIONS:
        known = ", ".join(arguments.KNOWN_VERSIONS)
        what = f"The arguments of LLaMA-Factory {options.version} are not known."
        yield Problem(key="trainer.version", what=what, fix=f"Choose one of: {known}.")
        return
    yield from arguments.check(options.args, options.version)  # type: ignore[arg-type]  # composed from YAML: JSON
    yield from derived.check_model(job, options.version)
    meanings = derived.model_arguments(job, options.args)
    yield from contradictions(options.args, meanings)
    said_elsewhere = {name: key for name, key in derived.KEY_OF.items() if name not in options.args}
    spelled = derived.spelled(meanings, options.args, version=options.version)
    yield from document.check(spelled, said_elsewhere)
    yield from places.check(options.args)
    yield from rules.check(
        rules.Facts(
            stage=str(options.args.get("stage", "sft")),
            args=cast("Mapping[str, Json]", {**spelled, **more}),
            world_size=job.topology.world_size,
            zero_stage=None,
            fsdp=False,
            accelerator=job.topology.accelerator,
            datasets=(),
            training=False,
            version=options.version,
        )
    )


def inputs(job: Job, args: Arguments) -> tuple[Input, ...]:
    """Returns what must be linked: model, adapters and other files."""
    placed = (places.model(job, args), *places.adapters(job, args), *(other for _, other in places.others(args)))
    return tuple(item.input for item in placed if item.input is not None)
