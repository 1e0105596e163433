"""What every way to train is told; standard library only, since it is read in environments of several kinds."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

JOB, PAIRS, NATIVE, FACTS, ADAPTER = "job.json", "pairs.parquet", "native.json", "facts.json", "adapter"


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A training.

    Attributes:
      folder: holds the files of the benchmark.
      model: folder of the model and its tokenizer.
      steps: optimizer steps.
      batch_size: pairs of each.
      learning_rate: the highest, after `warmup_steps`; it then falls as a cosine.
      warmup_steps: of linear warm-up.
      max_grad_norm: gradients are scaled down to it.
      beta: of the DPO loss.
      tuning: "full" or "lora"; the adapter to start from is in the folder.
      threads: that compute.
      seed: of everything.
    """

    folder: str
    model: str
    steps: int
    batch_size: int
    learning_rate: float
    warmup_steps: int
    max_grad_norm: float
    beta: float
    tuning: str
    threads: int
    seed: int

    @property
    def adapter(self) -> str | None:
        """The folder of the LoRA adapter to start from."""
        return str(Path(self.folder) / ADAPTER) if self.tuning == "lora" else None

    @property
    def pairs(self) -> Path:
        """The file with prompt_ids, chosen_ids and rejected_ids of each pair, in the order of the steps."""
        return Path(self.folder) / PAIRS

    def save(self) -> None:
        """Writes it into its folder."""
        text = json.dumps(dataclasses.asdict(self), indent=2)
        (Path(self.folder) / JOB).write_text(text, encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> Job:
        """Reads what `save` wrote."""
        return cls(**json.loads((folder / JOB).read_text(encoding="utf-8")))


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What is true of the pairs and the model, whoever trains.

    Attributes:
      tokens: that are no padding: each pair's prompt and chosen, and prompt and rejected.
      prompt_tokens: those of them that belong to prompts.
      sequences: mean, 90th percentile and maximum of a sequence's tokens.
      parameters: of the model, the adapter included.
      trained: those of them that are trained.
      budget: tokens of our micro-batches at most.
      budget_fill: what is used of that, on average.
    """

    tokens: int
    prompt_tokens: int
    sequences: tuple[float, float, int]
    parameters: int
    trained: int
    budget: int
    budget_fill: float

    @property
    def state_bytes(self) -> int:
        """The model's own state in fp32: weights; for what is trained, gradients and AdamW's two means as well."""
        return 4 * (self.parameters + 3 * self.trained)

    @classmethod
    def load(cls, folder: Path) -> Facts:
        """Reads what `prepare.py` wrote."""
        found: Mapping[str, object] = json.loads((folder / FACTS).read_text(encoding="utf-8"))
        return cls(**found)  # type: ignore[arg-type]
