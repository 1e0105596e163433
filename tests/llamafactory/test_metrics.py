"""The patterns against lines that LLaMA-Factory has really printed."""

from __future__ import annotations

import re

import pytest
from smtrain_llamafactory import metrics

V5 = {
    "{'loss': '6.911', 'grad_norm': 'nan', 'learning_rate': '1.2e-05', 'rewards/margins': '-0.25', 'epoch': '1'}": {
        "loss": "6.911", "grad_norm": "nan", "learning_rate": "1.2e-05", "rewards_margins": "-0.25", "epoch": "1",
    },
    "{'loss': '0.6931', 'grad_norm': '0.3611', 'learning_rate': '2.5e-06', 'rewards/chosen': '7.401e-05', "
    "'rewards/rejected': '-2.403e-05', 'rewards/accuracies': '1', 'rewards/margins': '4.997e-05', "
    "'logps/chosen': '-34.39', 'logps/rejected': '-34.56', 'logits/chosen': '0.001419', 'epoch': '0.075'}": {
        "loss": "0.6931", "grad_norm": "0.3611", "learning_rate": "2.5e-06", "rewards_chosen": "7.401e-05",
        "rewards_rejected": "-2.403e-05", "rewards_accuracies": "1", "rewards_margins": "4.997e-05", "epoch": "0.075",
    },
    "{'eval_loss': '6.915', 'eval_runtime': '0.1117', 'eval_samples_per_second': '573.1', "
    "'eval_steps_per_second': '35.82', 'epoch': '0.09375'}": {"eval_loss": "6.915", "epoch": "0.09375"},
    "{'train_runtime': '1.807', 'train_samples_per_second': '1.66', 'train_steps_per_second': '1.66', "
    "'train_loss': '0.6931', 'epoch': '0.075'}": {
        "train_runtime_s": "1.807", "train_samples_per_second": "1.66", "train_steps_per_second": "1.66",
        "train_loss": "0.6931", "epoch": "0.075",
    },
}  # fmt: skip
"""Line of transformers 5.6 → what is read off it."""

V4 = {
    "{'loss': 1.0431, 'grad_norm': 2.5, 'learning_rate': 1.2e-05, 'epoch': 0.03, 'num_input_tokens_seen': 32768}": {
        "loss": "1.0431", "grad_norm": "2.5", "learning_rate": "1.2e-05", "epoch": "0.03",
        "num_input_tokens_seen": "32768",
    },
    "{'loss': 0.0, 'grad_norm': nan, 'learning_rate': 0.0, 'epoch': 3.0}": {
        "loss": "0.0", "grad_norm": "nan", "learning_rate": "0.0", "epoch": "3.0",
    },
    "{'loss': inf, 'grad_norm': -inf, 'learning_rate': 5e-05, 'epoch': 1.0}": {
        "loss": "inf", "grad_norm": "-inf", "learning_rate": "5e-05", "epoch": "1.0",
    },
    "{'eval_loss': 0.5, 'eval_accuracy': np.float64(0.875), 'eval_rewards/accuracies': 1.0, "
    "'eval_rewards/margins': -2e-3}": {
        "eval_loss": "0.5", "eval_accuracy": "0.875", "eval_rewards_accuracies": "1.0",
        "eval_rewards_margins": "-2e-3",
    },
    "{'train_runtime': 12345.6, 'train_loss': 1e+16, 'epoch': 3.0}": {
        "train_runtime_s": "12345.6", "train_loss": "1e+16", "epoch": "3.0",
    },
}  # fmt: skip
"""The same of transformers 4."""

NOT_METRICS = (
    "{'loss_scale': '3', 'my_loss': '4', 'lossy': '5'}",
    "loss: 3.0, 'loss' = 3.0, \"loss\": 3.0",
    "{'loss': 'n/a', 'learning_rate': None}",
)


def read(line: str) -> dict[str, str]:
    return {pattern.name: found[1] for pattern in metrics.PATTERNS if (found := re.search(pattern.regex, line))}


AROUND = (
    "{}",
    "  1%|\u258f         | 3/300 [00:05<08:00,  1.60s/it]{}\r",
    "\x1b[32m{}\x1b[0m",
    "[rank0]: {} trailing text",
)


@pytest.mark.parametrize("around", AROUND)
@pytest.mark.parametrize(("line", "values"), [*V5.items(), *V4.items()])
def test_each_value_is_read_under_its_own_name_and_no_other(line: str, values: dict[str, str], around: str) -> None:
    assert read(around.format("§").replace("§", line)) == values
    assert all(float(value) is not None for value in values.values()), "every group is a number in whole"


@pytest.mark.parametrize("line", NOT_METRICS)
def test_what_only_looks_like_a_metric_is_none(line: str) -> None:
    assert read(line) == {}


def test_every_pattern_is_shown_to_work_by_one_of_the_lines() -> None:
    shown = {name for values in (*V5.values(), *V4.values()) for name in values}
    assert shown == {pattern.name for pattern in metrics.PATTERNS}


def test_names_and_regexes_fit_into_sagemaker() -> None:
    """API_MetricDefinition: names of 1 to 255 characters, regexes of 1 to 500; at most 40, and 20 in a tuning job."""
    names = [pattern.name for pattern in metrics.PATTERNS]
    assert len(set(names)) == len(names) <= 20
    assert all(re.fullmatch(r"[a-z][a-z0-9_]{0,254}", name) for name in names)
    assert all(len(pattern.regex) <= 500 and re.compile(pattern.regex).groups == 1 for pattern in metrics.PATTERNS)
