"""Prints a model's answer to one question: greedy, through its chat template.

Usage: ask.py MODEL_FOLDER QUESTION [ADAPTER_FOLDER]
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")


def answer(model_folder: Path, question: str, adapter: Path | None) -> str:
    """Returns the model's answer.

    Args:
      model_folder: weights, tokenizer and chat template.
      question: what the user says.
      adapter: a LoRA adapter to put on top; None asks the model as it is.
    """
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()
    tokenizer = AutoTokenizer.from_pretrained(model_folder)
    model = AutoModelForCausalLM.from_pretrained(model_folder, dtype=torch.float32)
    if adapter is not None:
        from peft import PeftModel

        model = PeftModel.from_pretrained(model, str(adapter))
    prompt = tokenizer.apply_chat_template(
        [{"role": "user", "content": question}], add_generation_prompt=True, return_tensors="pt", return_dict=True
    )
    with torch.inference_mode():
        tokens = model.eval().generate(**prompt, max_new_tokens=60, do_sample=False)
    reply: str = tokenizer.decode(tokens[0, prompt["input_ids"].shape[1] :], skip_special_tokens=True)
    return reply.strip()


def main() -> None:
    """Reads the command line."""
    adapter = Path(sys.argv[3]) if len(sys.argv) > 3 else None  # noqa: PLR2004
    print(answer(Path(sys.argv[1]), sys.argv[2], adapter))


if __name__ == "__main__":
    main()
