"""Rules about the loss of preference training, and its reference."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import PurePosixPath

from smtrain.plugin import Job, Problem, launch_script, warning
from smtrain_native.options import Loss, NativeOptions, PreferenceOptions

WITHOUT_REFERENCE = frozenset({"simpo", "orpo"})

_LEAST_SIMPO_BETA = 1.0
"""Its authors trained with 2.0 to 2.5, later with 10 (Meng et al. 2024, arXiv 2405.14734, appendix B)."""


def needs_reference(kind: str) -> bool:
    """Whether a preference loss compares the policy with a reference."""
    return kind not in WITHOUT_REFERENCE


def parameters_count(job: Job, options: NativeOptions) -> Iterator[Problem]:
    """A parameter that the chosen loss does not read changes nothing, whatever was meant by it."""
    del job
    if not isinstance(options, PreferenceOptions):
        return
    loss = options.loss
    if loss.label_smoothing and loss.kind != "cdpo":
        what = f"{loss.label_smoothing:g} is ignored: loss {loss.kind} has no label smoothing."
        yield warning("trainer.loss.label_smoothing", what, "Say trainer.loss.kind=cdpo, or leave it out.")
    if loss.kind == "cdpo" and not loss.label_smoothing:
        what = "cdpo without label smoothing is dpo."
        yield warning("trainer.loss.label_smoothing", what, "Say trainer.loss.label_smoothing=0.1, for instance.")
    if loss.kind != "simpo" and loss.gamma != Loss().gamma:
        what = f"{loss.gamma:g} is ignored: loss {loss.kind} has no margin."
        yield warning("trainer.loss.gamma", what, "Say trainer.loss.kind=simpo, or leave it out.")
    if loss.kind == "simpo" and loss.beta < _LEAST_SIMPO_BETA:
        what = f"{loss.beta:g} is small for simpo, whose rewards are per token; its authors train with 2 and more."
        yield warning("trainer.loss.beta", what, "Say trainer.loss.beta=2.0.")


def a_reference_is_read(job: Job, options: NativeOptions) -> Iterator[Problem]:
    """A file of reference log-probabilities is of no use to a loss without a reference."""
    del job
    if not isinstance(options, PreferenceOptions) or options.reference is None:
        return
    path, key = options.reference, "trainer.reference"
    if not needs_reference(options.loss.kind):
        what = f"`{path}` would not be read: loss {options.loss.kind} has no reference."
        yield Problem(key=key, what=what, fix="Leave it out, or choose another trainer.loss.kind.")
    yield from launch_script.target_path_problems(path, key) if path.startswith("target:") else ()
    if path.startswith("hub:") or not PurePosixPath(path).name:
        what = f"`{path}` names no file."
        yield Problem(key=key, what=what, fix="Name a file of this machine, an s3:// URI or target:/PATH.")


RULES = (parameters_count, a_reference_is_read)
