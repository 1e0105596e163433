"""What merging and serving share: a model, perhaps an adapter, and no training."""

from __future__ import annotations

from collections.abc import Iterator

from smtrain.plugin import Input, Job, Problem
from smtrain_llamafactory import arguments, derived, document, places
from smtrain_llamafactory.options import Arguments, ModelOnlyOptions
from smtrain_llamafactory.owned import contradictions


def check(job: Job, options: ModelOnlyOptions) -> Iterator[Problem]:
    """Yields what is wrong with the arguments."""
    if options.version not in arguments.KNOWN_VERSIONS:
        known = ", ".join(arguments.KNOWN_VERSIONS)
        what = f"The arguments of LLaMA-Factory {options.version} are not known."
        yield Problem(key="trainer.version", what=what, fix=f"Choose one of: {known}.")
        return
    yield from arguments.check(options.args, options.version)  # type: ignore[arg-type]  # composed from YAML: JSON
    meanings = derived.model_arguments(job, options.args)
    yield from contradictions(options.args, meanings)
    said_elsewhere = {name: key for name, key in derived.KEY_OF.items() if name not in options.args}
    spelled = derived.spelled(meanings, options.args, version=options.version)
    yield from document.check(spelled, said_elsewhere)
    if job.run.model.adapter and options.args.get("finetuning_type", "lora") != "lora":
        what = "LLaMA-Factory loads adapters of LoRA only."
        yield Problem(key="trainer.args.finetuning_type", what=what, fix="Set lora, or model.adapter=null.")


def inputs(job: Job, args: Arguments) -> tuple[Input, ...]:
    """Returns what must be linked: model, adapters and other files."""
    placed = (places.model(job, args), *places.adapters(job, args), *(other for _, other in places.others(args)))
    return tuple(item.input for item in placed if item.input is not None)
