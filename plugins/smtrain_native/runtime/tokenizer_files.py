"""Which files make a tokenizer, and a digest of what is in them."""

from __future__ import annotations

import json
from pathlib import Path

from smtrain_native.runtime import cache
from smtrain_native.runtime.data_errors import DataError
from smtrain_native.runtime.settings import Model

_NAMES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template.jinja",
    "chat_template.json",
    "additional_chat_templates/*.jinja",
    "vocab.json",
    "vocab.txt",
    "merges.txt",
    "tokenizer.model",
    "spiece.model",
    "sentencepiece.bpe.model",
    "*.tiktoken",
    "tekken.json",
)
_CODE = ("*.py",)
_CONFIG = ("model_type", "tokenizer_class", "auto_map")  # what transformers chooses the tokenizer's class by


def tokenizer_folder(model: Model, directory: Path) -> Path:
    """Returns the folder that holds a model's tokenizer, which a hub repository gets on this machine.

    Raises:
      DataError: there is neither such a folder nor such a repository.
    """
    folder = directory / model.path
    if folder.is_dir():
        return folder
    import huggingface_hub
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    wanted = [*_NAMES, "config.json", *(_CODE if model.trust_remote_code else ())]
    try:
        return Path(huggingface_hub.snapshot_download(model.path, revision=model.revision, allow_patterns=wanted))
    except (HFValidationError, HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        reason = str(error).strip().partition("\n")[0]
        message = f"model.path={model.path}: neither a folder nor a repository that the hub gives: {reason}"
        raise DataError(message) from None


def tokenizer_digest(folder: Path, model: Model, cache_folder: Path) -> str:
    """Returns a digest of all files of a tokenizer."""
    patterns = (*_NAMES, *(_CODE if model.trust_remote_code else ()))
    files = sorted({file for pattern in patterns for file in folder.glob(pattern) if file.is_file()})
    named = {str(file.relative_to(folder)): cache.file_digest(file, cache_folder) for file in files}
    return cache.digest_of([named, _config(folder / "config.json")])


def _config(file: Path) -> dict[str, object]:
    try:
        config = json.loads(file.read_bytes())
    except (OSError, ValueError):
        return {}
    return {name: config[name] for name in _CONFIG if isinstance(config, dict) and name in config}
