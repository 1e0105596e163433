"""Merges the trained adapter into its model.

python -m smtrain_native.runtime.export native.json OUTPUT
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from smtrain_native.runtime import ending, saving, settings


def main(argv: Sequence[str]) -> int:
    """Writes the merged model, in the model's own precision, with its tokenizer beside it."""
    run, merged = settings.read(Path(argv[0])), Path(argv[1])
    adapter = Path(run.output_dir)
    if not (adapter / "adapter_config.json").is_file():
        message = f"{adapter} holds no adapter to merge. Only trainer.tuning.kind=lora makes one."
        raise ending.UserError(message)
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    where = {"revision": run.model.revision, "trust_remote_code": run.model.trust_remote_code}
    model = AutoModelForCausalLM.from_pretrained(run.model.path, dtype="auto", **where)
    PeftModel.from_pretrained(model, adapter).merge_and_unload().save_pretrained(merged)
    saving.save_tokenizer(run, merged)
    print(f"export: {adapter} merged into {run.model.path} → {merged}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(ending.told(main, sys.argv[1:]))
