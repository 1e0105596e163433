"""The pieces of a text become one row of tokens, cut where the pieces are."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from smtrain_native.runtime.sample_text import Piece, SampleText, shared_length

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Tokens = list[int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Encoded:
    """The tokens of one example.

    Attributes:
      prompt: token ids.
      responses: token ids of each response.
      masks: True where a response's token is trained; None where all are.
      unended: whether the prompt of a completion lacks a newline at its end.
    """

    prompt: Tokens
    responses: tuple[Tokens, ...]
    masks: tuple[list[bool] | None, ...]
    unended: bool = False


class Batch:
    """The tokenizer's own batch call, without the special tokens around a text."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        """Takes the tokenizer."""
        self._tokenizer = tokenizer
        backend = getattr(tokenizer, "backend_tokenizer", None)
        # Offsets, which only the other call computes, are not read here.
        self._fast = getattr(backend, "encode_batch_fast", None)
        if backend is not None:
            backend.encode_special_tokens = bool(getattr(tokenizer, "split_special_tokens", False))

    def tokens(self, texts: Sequence[str]) -> list[Tokens]:
        """Returns the tokens of each text."""
        if self._fast is not None:
            return [encoding.ids for encoding in self._fast(texts, add_special_tokens=False)]
        return list(self._tokenizer(list(texts), add_special_tokens=False)["input_ids"]) if texts else []

    def takes_text_as_it_is(self) -> bool:
        """Whether a text's tokens do not depend on its being a text of its own.

        SentencePiece, and ByteLevel with add_prefix_space, put a space in front of it.
        """
        newline, word, both = self.tokens(("\n", "word", "\nword"))
        return both == newline + word


class Join(Protocol):
    """A way to do it."""

    def encode(self, texts: Sequence[SampleText]) -> list[Encoded]:
        """Returns the tokens of each text."""


class Separately:
    """Each piece is a text of its own, as the prompt is when the model is used."""

    def __init__(self, batch: Batch, *, start: Sequence[int] = (), end: Sequence[int] = ()) -> None:
        """Takes the tokens in front of each prompt and behind each response."""
        self._batch, self._start_tokens, self._end_tokens = batch, list(start), list(end)

    def encode(self, texts: Sequence[SampleText]) -> list[Encoded]:
        """Returns the tokens of each text."""
        flat = [piece for text in texts for piece in texts_of(text)]
        tokens = iter(self._batch.tokens(flat))
        return [self._encoded(text, tokens) for text in texts]

    def _encoded(self, text: SampleText, tokens: Iterator[Tokens]) -> Encoded:
        prompt = self._start_tokens + next(tokens)
        responses, masks = [], []
        for pieces in text.responses:
            parts = [next(tokens) for _ in pieces]
            parts[-1] += self._end_tokens
            responses.append(list(itertools.chain.from_iterable(parts)))
            masks.append(_mask(pieces, [len(part) for part in parts]))
        return Encoded(prompt=prompt, responses=tuple(responses), masks=tuple(masks), unended=text.unended)


class AtOnce:
    """The whole text is tokenised at once, for tokenizers that treat the start of a text in a special way.

    A token that reaches over a boundary belongs to what follows it.
    """

    def __init__(self, batch: Batch) -> None:
        """Takes the tokenizer."""
        self._batch = batch

    def encode(self, texts: Sequence[SampleText]) -> list[Encoded]:
        """Returns the tokens of each text."""
        return [self._encoded(text) for text in texts]

    def _encoded(self, text: SampleText) -> Encoded:
        wholes = [
            list(itertools.accumulate((text.prompt, *(piece.text for piece in pieces)))) for pieces in text.responses
        ]
        tokens = [self._batch.tokens(upto) for upto in wholes]
        cuts = [[shared_length(part, upto[-1]) for part in upto] for upto in tokens]
        end = min(cut[0] for cut in cuts)
        responses, masks = [], []
        for pieces, cut, upto in zip(text.responses, cuts, tokens, strict=True):
            bounds = [end, *(max(end, each) for each in cut[1:])]
            responses.append(upto[-1][end:])
            masks.append(_mask(pieces, [after - before for before, after in itertools.pairwise(bounds)]))
        return Encoded(prompt=tokens[0][-1][:end], responses=tuple(responses), masks=tuple(masks), unended=text.unended)


def texts_of(text: SampleText) -> Iterator[str]:
    """Yields the prompt and all pieces."""
    yield text.prompt
    for pieces in text.responses:
        yield from (piece.text for piece in pieces)


def _mask(pieces: Sequence[Piece], lengths: Sequence[int]) -> list[bool] | None:
    if all(piece.trained for piece in pieces):
        return None
    return [piece.trained for piece, length in zip(pieces, lengths, strict=True) for _ in range(length)]
