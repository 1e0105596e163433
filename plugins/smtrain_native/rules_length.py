"""Rules about how many tokens a sequence, a pair and a micro-batch may have, and how many samples a step."""

from __future__ import annotations

from collections.abc import Iterator

from smtrain.plugin import Job, Problem, warning
from smtrain_native.options import NativeOptions, PreferenceOptions

_BUDGET = "trainer.max_tokens_per_device"
_LENGTH = "trainer.max_length"


def micro_batches_are_filled_by_tokens(job: Job, options: NativeOptions) -> Iterator[Problem]:
    """A number of samples a micro-batch is what padding to the longest needs, and this trainer has none."""
    if job.run.micro_batch_size is not None:
        what = "Micro-batches of this trainer are filled up to a number of tokens, and hold no fixed number of samples."
        fix = f"Leave it out, and set {_BUDGET} (now {options.max_tokens_per_device})."
        yield Problem(key="micro_batch_size", what=what, fix=fix)


def the_longest_fits(job: Job, options: NativeOptions) -> Iterator[Problem]:
    """The cap of a micro-batch is strict, so what max_length lets pass must fit into it.

    A pair counts prompt + 1 + chosen + rejected, or twice the prompt where it is not shared. With a prompt of p ≥ 1
    tokens and both sequences of max_length L, that is p + 1 + 2·(L - p) = 2·L + 1 - p, at most 2·L.
    """
    del job
    pairs = isinstance(options, PreferenceOptions)
    length, budget = options.max_length, options.max_tokens_per_device
    longest = 2 * length if pairs else length
    if longest <= budget:
        return
    shorter = budget // 2 if pairs else budget
    what = f"A micro-batch holds {budget} tokens, but a sequence of {_LENGTH} has {length}."
    if pairs:
        what = (
            f"A micro-batch holds {budget} tokens, but a pair whose sequences have {length} ({_LENGTH}) counts up to "
            f"{longest}: prompt + 1 + chosen + rejected, for a one-token prompt 1 + 1 + {length - 1} + {length - 1}."
        )
    lower = f", or {_LENGTH}={shorter} or less" if shorter else ""
    yield Problem(key=_BUDGET, what=what, fix=f"Say {_BUDGET}={longest} or more{lower}.")


def the_model_has_so_many_positions(job: Job, options: NativeOptions) -> Iterator[Problem]:
    """Beyond max_position_embeddings a model was never trained, and one with learned positions has none."""
    positions = job.model.config.get("max_position_embeddings")
    if isinstance(positions, int) and not isinstance(positions, bool) and 0 < positions < options.max_length:
        what = f"{options.max_length} tokens, but `{job.model.reference}` has {positions} positions."
        yield warning(_LENGTH, what, f"Say {_LENGTH}={positions}, unless its positions can be stretched.")


def a_step_has_samples_for_all(job: Job, options: NativeOptions) -> Iterator[Problem]:
    """Fewer rows than one step takes: the run would train on each of them once, in a step of its own."""
    counts = [dataset.rows for dataset in job.datasets if dataset.role == "train"]
    if not counts or None in counts or options.weights:
        return
    rows = sum(count for count in counts if count is not None)
    if 0 < rows < job.batch.global_size:
        what = f"{job.batch.global_size} samples a step, but there are {rows} rows to train on."
        yield warning("global_batch_size", what, f"Say global_batch_size={_below(rows, job.topology.world_size)}.")


def _below(rows: int, world_size: int) -> int:
    return max(rows // world_size, 1) * world_size


RULES = (
    micro_batches_are_filled_by_tokens,
    the_longest_fits,
    the_model_has_so_many_positions,
    a_step_has_samples_for_all,
)
