"""How to read the progress of a LLaMA-Factory training: its JSON-lines log, and the lines it prints."""

from __future__ import annotations

from smtrain.plugin import MetricPattern, Progress

LOG = "trainer_log.jsonl"
"""Written by LogCallback (train/callbacks.py), by the first process, in output_dir."""

_NUMBER = r"([-+]?(?:[0-9]+(?:\.[0-9]*)?(?:[eE][-+]?[0-9]+)?|nan|inf))"

_PRINTED = {
    "loss": "loss",
    "eval_loss": "eval_loss",
    "learning_rate": "learning_rate",
    "grad_norm": "grad_norm",
    "epoch": "epoch",
    "train_loss": "train_loss",
    "train_runtime_s": "train_runtime",
    "train_samples_per_second": "train_samples_per_second",
    "rewards_chosen": "rewards/chosen",
    "rewards_rejected": "rewards/rejected",
    "rewards_accuracies": "rewards/accuracies",
    "rewards_margins": "rewards/margins",
    "eval_accuracy": "eval_accuracy",
    "eval_rewards_accuracies": "eval_rewards/accuracies",
    "eval_rewards_margins": "eval_rewards/margins",
    "train_steps_per_second": "train_steps_per_second",
    "num_input_tokens_seen": "num_input_tokens_seen",
}
"""Metric → key in the dict that transformers' ProgressCallback prints.

transformers 5.6 prints every value as a string, `{'loss': '6.94', 'learning_rate': '9.619e-05'}`; 4.x printed numbers,
with NumPy 2 those of a metric as `np.float64(0.5)`.
"""

PATTERNS = tuple(
    MetricPattern(name=name, regex=rf"'{key}': (?:np\.float\d+\()?'?{_NUMBER}'?[,)}}]")
    for name, key in _PRINTED.items()
)
"""Metrics in the printed lines. They match nan and inf as well, which CloudWatch does not take (API_MetricDatum)."""


def progress(output_dir: str) -> Progress:
    """Returns where a training reports its progress."""
    return Progress(
        path=f"{output_dir}/{LOG}",
        step="current_steps",
        total="total_steps",
        metrics={
            "loss": "loss",
            "learning_rate": "lr",
            "epoch": "epoch",
            "eval_loss": "eval_loss",
            "accuracy": "accuracy",
            "reward": "reward",
        },
    )
