"""Rules about the data sets and how they are split, mixed and streamed."""

from __future__ import annotations

from collections.abc import Iterator

from smtrain.plugin import Problem
from smtrain_llamafactory.arguments import schema
from smtrain_llamafactory.facts import Facts, Rule

_NONE = 1e-6  # LLaMA-Factory takes a smaller val_size for none
_SUM_TOLERANCE = 1e-8  # numpy's, for probabilities


def shape_of_the_rows(facts: Facts) -> Iterator[Problem]:
    """data/loader.py: _get_merged_dataset; data/processor/feedback.py drops a row without a tag."""
    ranked = facts.stage in ("rm", "dpo")
    for dataset in facts.datasets:
        if ranked and not dataset.ranking:
            what = f"the data set {dataset.name} has no ranking, which the stage {facts.stage} needs."
            yield Problem(key=dataset.key, what=what, fix="Set ranking: true, and map columns.chosen and rejected.")
        elif not ranked and dataset.ranking:
            what = f"the data set {dataset.name} is one of preferences, which the stage {facts.stage} cannot use."
            yield Problem(key=dataset.key, what=what, fix="Set ranking: false, or use trainer=lf_dpo or lf_rm.")
        elif facts.stage == "kto" and not dataset.columns.get("kto_tag"):
            what = f"the data set {dataset.name} names no column that says whether a response is desirable."
            yield Problem(key=dataset.key, what=what, fix="Set columns.kto_tag to a column of true and false.")


def data_to_work_on(facts: Facts) -> Iterator[Problem]:
    """hparams/parser.py: get_train_args; transformers turns do_eval on when eval_strategy is not "no"."""
    if facts.flag("do_train") and not facts.sets("train"):
        yield facts.error("do_train", "there is no data to train on.", "Set data.path.")
    reasons = [name for name in ("do_eval", "do_predict", "predict_with_generate") if facts.flag(name)]
    reasons += ["eval_strategy"] if facts.text("eval_strategy") != "no" else []
    if reasons and not facts.sets("eval") and (facts.number("val_size") or 0) < _NONE:
        yield facts.error(reasons[0], "there is no data to evaluate on.", "Set data.eval_path, or val_size.")


def validation_split(facts: Facts) -> Iterator[Problem]:
    """hparams/data_args.py: __post_init__; data/data_utils.py: split_dataset; Dataset.train_test_split."""
    size = facts.number("val_size") or 0
    if size <= _NONE:
        return
    if facts.sets("eval"):
        yield facts.error("val_size", "does not go with a data set for evaluation.", "Leave one of them out.")
    if not facts.sets("train"):
        yield facts.error("val_size", "there are no training data to split.", "Leave it out.")
    if facts.flag("streaming") and size < 1:
        yield facts.error("val_size", f"is {size:g}, but streamed rows cannot be counted.", "Give a number of rows.")
    elif size == 1 and isinstance(facts.args.get("val_size"), float):
        yield facts.error("val_size", "is 1.0, which is neither a share nor a number of rows.", "Write 1, or 0.1.")
    rows = _rows(facts)
    if rows is not None and size > 1 and int(size) >= rows:
        yield facts.error("val_size", f"is {int(size)} of {rows} rows: none is left to train on.", "Lower it.")


def _rows(facts: Facts) -> int | None:
    """Returns the number of training rows after concatenation; None when it is unknown."""
    counts = [dataset.rows for dataset in facts.datasets if dataset.role == "train"]
    if not counts or facts.flag("streaming") or facts.text("mix_strategy") != "concat":
        return None
    cap = facts.number("max_samples")
    total = 0
    for dataset in facts.datasets:
        if dataset.role != "train":
            continue
        if dataset.rows is None or dataset.attributes.get("num_samples") is not None:
            return None
        total += dataset.rows if cap is None else min(dataset.rows, int(cap))
    return total


def interleaving(facts: Facts) -> Iterator[Problem]:
    """hparams/data_args.py: DataArguments.__post_init__; datasets.interleave_datasets draws with numpy."""
    if not facts.given("interleave_probs"):
        return
    if facts.text("mix_strategy") == "concat":
        yield facts.error(
            "interleave_probs", "does not go with mix_strategy: concat.", "Use interleave_under or _over."
        )
    try:
        shares = [float(item) for item in facts.names("interleave_probs")]
    except ValueError:
        yield facts.error("interleave_probs", "is not a list of numbers.", "Write 0.3,0.7 for two data sets.")
        return
    for role in ("train", "eval"):
        count = len(facts.sets(role))
        if count and count != len(shares):
            what = f"has {len(shares)} numbers for {count} data sets ({role})."
            yield facts.error("interleave_probs", what, "Give one number for each data set.")
    if len(shares) > 1 and not abs(sum(shares) - 1) <= _SUM_TOLERANCE:
        yield facts.error("interleave_probs", f"sums to {sum(shares):g}, not to 1.", "Scale the numbers.")


def streaming(facts: Facts) -> Iterator[Problem]:
    """hparams/data_args.py, hparams/parser.py; data/loader.py: _load_single_dataset; datasets.load_dataset."""
    if not facts.flag("streaming"):
        return
    if facts.training and (facts.number("max_steps") or 0) <= 0:
        yield facts.error("max_steps", "is missing: the length of streamed data is unknown.", "Set max_steps.")
    if facts.given("max_samples"):
        yield facts.error("max_samples", "does not go with streaming.", "Leave it out, and set max_steps.")
    sources = {dataset.source for dataset in facts.datasets}
    if sources & {"file", "s3", "target"} and facts.training and not facts.number("dataloader_num_workers"):
        # Dataset.to_iterable_dataset(num_shards=0) is empty: the run ends with a bare StopIteration.
        what = "is 0: streamed files are cut into one shard for each worker, so no row would be left."
        yield facts.error("dataloader_num_workers", what, "Set it to 1 or more.")
    if sources & {"hub", "script"} and facts.given("preprocessing_num_workers"):
        yield facts.error("preprocessing_num_workers", "does not go with streaming from a hub.", "Leave it out.")


def masking(facts: Facts) -> Iterator[Problem]:
    """hparams/data_args.py: __post_init__; data/template.py: get_template_and_fix_tokenizer."""
    if facts.flag("mask_history") and facts.flag("train_on_prompt"):
        yield facts.error("mask_history", "does not go with train_on_prompt.", "Leave one of them out.")
    efficient = schema(facts.version).get("x-efficient-eos-templates", [])
    if facts.flag("train_on_prompt") and isinstance(efficient, list) and facts.text("template") in efficient:
        what = f"the template {facts.text('template')} does not support it."
        yield facts.error("train_on_prompt", what, "Leave it out, or choose another template.")


ALWAYS: tuple[Rule, ...] = (validation_split, interleaving, masking)
TRAINING: tuple[Rule, ...] = (shape_of_the_rows, data_to_work_on, streaming)
