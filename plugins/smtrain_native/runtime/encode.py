"""Examples become tokens, many at once."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from smtrain_native.runtime.data_errors import DataError
from smtrain_native.runtime.joining import AtOnce, Batch, Encoded, Join, Separately, Tokens, texts_of
from smtrain_native.runtime.messages import Message
from smtrain_native.runtime.row_shapes import Example
from smtrain_native.runtime.sample_text import Chat, Completion, Layout, Render, SampleText
from smtrain_native.runtime.settings import Kind, PromptType

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True, slots=True, kw_only=True)
class Encoding:
    """How examples are encoded; equal encodings by equal tokenizers give equal tokens.

    Attributes:
      tokenizer: folder that holds it.
      digest: of its files.
      kind: "sft" or "preference".
      prompt_type: "chat" or "completion".
      append_eos: whether a completion ends in the end-of-sequence token.
      trust_remote_code: run the tokenizer's own code.
    """

    tokenizer: Path
    digest: str
    kind: Kind
    prompt_type: PromptType
    append_eos: bool
    trust_remote_code: bool = False


class Encoder:
    """Encodes examples, as one encoding says."""

    def __init__(self, encoding: Encoding) -> None:
        """Loads the tokenizer.

        Raises:
          DataError: there is none, or it lacks a chat template or an end-of-sequence token that is needed.
        """
        tokenizer = _load(encoding)
        self._layout: Layout = Completion()
        self._join: Join
        if encoding.prompt_type == "chat":
            self._layout = Chat(_template(tokenizer, encoding), every_turn=encoding.kind == "sft")
            batch = Batch(tokenizer)
            self._join = Separately(batch) if batch.takes_text_as_it_is() else AtOnce(batch)
        else:
            self._join = Separately(Batch(tokenizer), start=_start(tokenizer), end=_end(tokenizer, encoding))

    def encode(self, examples: Sequence[Example]) -> list[Encoded]:
        """Returns the tokens of each example, in order.

        Raises:
          DataError: an example cannot be laid out, or is no text; the message names its place.
        """
        texts = [self._layout.text(example) for example in examples]
        try:
            return self._join.encode(texts)
        except (TypeError, UnicodeEncodeError):
            for example, text in zip(examples, texts, strict=True):
                _check_characters(example, text)
            raise


@functools.lru_cache(maxsize=1)
def encoder_for(encoding: Encoding) -> Encoder:
    """Returns the encoder, the same one when asked again: a forked process has it already."""
    return Encoder(encoding)


def _load(encoding: Encoding) -> PreTrainedTokenizerBase:
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(encoding.tokenizer, trust_remote_code=encoding.trust_remote_code)
    except (OSError, ValueError, KeyError, ImportError) as error:
        message = f"{encoding.tokenizer}: no tokenizer can be loaded: {error}"
        raise DataError(message) from None
    if backend := getattr(tokenizer, "backend_tokenizer", None):
        backend.no_truncation()
        backend.no_padding()
    return tokenizer


def _template(tokenizer: PreTrainedTokenizerBase, encoding: Encoding) -> Render:
    if not tokenizer.chat_template:
        message = f"{encoding.tokenizer}: the tokenizer has no chat template. Set prompt_type=completion."
        raise DataError(message)

    def render(messages: Sequence[Message], tools: Sequence[object], *, opened: bool) -> str:
        text = tokenizer.apply_chat_template(
            list(messages), tools=list(tools) or None, tokenize=False, add_generation_prompt=opened
        )
        return str(text)

    return render


def _start(tokenizer: PreTrainedTokenizerBase) -> Tokens:
    """Returns what the tokenizer puts in front of a text, such as its beginning-of-sequence token."""
    bare, whole = (tokenizer("a", add_special_tokens=special)["input_ids"] for special in (False, True))
    spans = (start for start in range(len(whole)) if whole[start : start + len(bare)] == bare)
    start: Tokens = whole[: next(spans, 0)]
    return start


def _end(tokenizer: PreTrainedTokenizerBase, encoding: Encoding) -> Tokens:
    if not encoding.append_eos:
        return []
    if tokenizer.eos_token_id is None:
        message = f"{encoding.tokenizer}: the tokenizer has no end-of-sequence token. Set append_eos=false."
        raise DataError(message)
    return [tokenizer.eos_token_id]


def _check_characters(example: Example, text: SampleText) -> None:
    for piece in texts_of(text):
        try:
            piece.encode()
        except UnicodeEncodeError as error:
            message = (
                f"{example.place}: a lone surrogate (half of a \\ud800-\\udfff pair) at character {error.start + 1} "
                "of the text: this is no character. Write the pair whole, or remove it."
            )
            raise DataError(message) from None
