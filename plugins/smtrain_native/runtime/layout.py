"""Samples laid end to end: one row of tokens without padding, in which a pair's prompt stands once.

A preference pair is laid out as prompt, chosen, rejected. Both responses count their positions from the end of the
prompt and attend to it; neither sees the other (prefix sharing: Wang and Hegde 2024, arXiv 2410.20305).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Protocol

import numpy as np
import torch


class Encoded(Protocol):
    """A sample in tokens.

    Attributes:
      prompt_id: its name.
      prompt: tokens of the prompt; shape (P,).
      responses: tokens of each response; one for supervised tuning, chosen and rejected for a pair.
      masks: for each response, which of its tokens are trained on; None is all.
    """

    @property
    def prompt_id(self) -> str:  # noqa: D102  # the class tells of all four
        ...

    @property
    def prompt(self) -> np.ndarray:  # noqa: D102
        ...

    @property
    def responses(self) -> tuple[np.ndarray, ...]:  # noqa: D102
        ...

    @property
    def masks(self) -> tuple[np.ndarray | None, ...]:  # noqa: D102
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """Queries that stand together, and the keys in front of them.

    Attributes:
      start: first token.
      stop: one past the last.
      prefix_start: first token of the shared prompt that they see as well.
      prefix_stop: one past its last; equal to prefix_start when there is none.
    """

    start: int
    stop: int
    prefix_start: int = 0
    prefix_stop: int = 0

    @property
    def queries(self) -> int:
        """Number of queries."""
        return self.stop - self.start

    @property
    def prefix(self) -> int:
        """Length of the shared prompt."""
        return self.prefix_stop - self.prefix_start

    @property
    def keys(self) -> int:
        """Number of keys that the last query sees."""
        return self.prefix + self.queries


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """A micro-batch.

    T counts tokens, R the tokens to be predicted, S sequences: one for each response, in the order of the samples.

    Attributes:
      prompt_ids: of the samples.
      ids_T: tokens.
      positions_T: position of each token in its own sequence.
      spans: who attends to whom.
      sources_R: where the hidden state stands that predicts a token.
      targets_R: the token.
      sequence_R: the sequence that it belongs to.
      trained_R: 1 where the token is trained on, else 0.
      lengths_S: tokens trained on in each sequence.
      read_sizes: of parts of the row that hold no source, sources, no source, …; a part may have a stray token.
      masks: attention masks by shape, made when first asked for.
    """

    prompt_ids: tuple[str, ...]
    ids_T: torch.Tensor
    positions_T: torch.Tensor
    spans: tuple[Span, ...]
    sources_R: torch.Tensor
    targets_R: torch.Tensor
    sequence_R: torch.Tensor
    trained_R: torch.Tensor
    lengths_S: torch.Tensor
    read_sizes: tuple[int, ...] = ()
    masks: dict[tuple[int, ...], torch.Tensor] = field(default_factory=dict)

    @property
    def tokens(self) -> int:
        """Tokens that are computed."""
        return int(self.ids_T.numel())

    def sums(self, values_R: torch.Tensor) -> torch.Tensor:
        """Returns the sum of a value over the trained tokens of each sequence, in double precision; shape (S,).

        In single precision a sum near 1000 nats is known to 1e-4 only, and a preference loss is about differences.
        """
        return self._summed(values_R * self.trained_R)

    def whole_sums(self, values_R: torch.Tensor) -> torch.Tensor:
        """Returns the sum over all tokens of each sequence, trained or not, in double precision; shape (S,)."""
        return self._summed(values_R)

    def _summed(self, values_R: torch.Tensor) -> torch.Tensor:
        wide_R = values_R.double()
        return torch.zeros_like(self.lengths_S, dtype=wide_R.dtype).index_add(0, self.sequence_R, wide_R)

    def whole_lengths(self) -> torch.Tensor:
        """Returns the tokens of each sequence that are predicted, trained or not; shape (S,)."""
        return torch.bincount(self.sequence_R, minlength=len(self.lengths_S)).to(self.lengths_S.dtype)

    def to(self, device: torch.device) -> Layout:
        """Returns it on a device."""
        if self.ids_T.device == device:
            return self
        tensors = {
            name: getattr(self, name).to(device, non_blocking=True)
            for name in ("ids_T", "positions_T", "sources_R", "targets_R", "sequence_R", "trained_R", "lengths_S")
        }
        return replace(self, masks={}, **tensors)


def pair_tokens(lengths: Sequence[int], *, share_prompts: bool) -> int:
    """Returns the tokens that a sample counts: `prompt + 1 + chosen + rejected` for a pair that shares its prompt.

    Args:
      lengths: of the prompt and of each response.
      share_prompts: whether the prompt of a pair stands once.
    """
    prompt, *responses = lengths
    if len(responses) == 1:
        return prompt + responses[0]
    return (prompt + 1 if share_prompts else len(responses) * prompt) + sum(responses)


def pack(samples: Iterable[Encoded], *, share_prompts: bool = True, untrained: bool = False) -> Layout:
    """Lays samples end to end.

    Args:
      samples: at least one, none of them empty.
      share_prompts: whether the prompt of a pair stands once.
      untrained: whether tokens of responses that are not trained on are predicted, too.
    """
    rows = _Rows(untrained=untrained)
    for sample in samples:
        rows.add(sample, share_prompts=share_prompts)
    return rows.layout()


class _Rows:
    """Grows a layout sample by sample."""

    def __init__(self, *, untrained: bool) -> None:
        self.untrained = untrained
        self.prompt_ids: list[str] = []
        self.ids: list[np.ndarray] = []
        self.positions: list[np.ndarray] = []
        self.spans: list[Span] = []
        self.sources: list[np.ndarray] = []
        self.targets: list[np.ndarray] = []
        self.trained: list[np.ndarray] = []
        self.tokens = 0

    def add(self, sample: Encoded, *, share_prompts: bool) -> None:
        self.prompt_ids.append(sample.prompt_id)
        masks: list[np.ndarray] = [
            np.ones(len(response), np.float32) if mask is None else mask.astype(np.float32)
            for response, mask in zip(sample.responses, sample.masks, strict=True)
        ]
        if share_prompts or len(sample.responses) == 1:
            self._shared(sample, masks)
            return
        for response, mask in zip(sample.responses, masks, strict=True):
            start = self._text(sample.prompt, 0)
            at = self._text(response, len(sample.prompt))
            self.spans.append(Span(start=start, stop=self.tokens))
            self._predict(response, mask, at, before=at - 1 if len(sample.prompt) else None)

    def _shared(self, sample: Encoded, masks: list[np.ndarray]) -> None:
        prompt = len(sample.prompt)
        start = self._text(sample.prompt, 0)
        for number, (response, mask) in enumerate(zip(sample.responses, masks, strict=True)):
            at = self._text(response, prompt)
            if number == 0:
                self.spans.append(Span(start=start, stop=self.tokens))
            else:
                self.spans.append(Span(start=at, stop=self.tokens, prefix_start=start, prefix_stop=start + prompt))
            self._predict(response, mask, at, before=start + prompt - 1 if prompt else None)

    def _text(self, ids: np.ndarray, position: int) -> int:
        start = self.tokens
        self.ids.append(ids)
        self.positions.append(np.arange(position, position + len(ids)))
        self.tokens += len(ids)
        return start

    def _predict(self, response: np.ndarray, mask: np.ndarray, at: int, *, before: int | None) -> None:
        """Adds the tokens of a response as targets; the first of a sequence without a prompt has no source."""
        sources = np.arange(at - 1, at - 1 + len(response))
        if len(response) and before is not None:
            sources[0] = before
        kept = np.ones(len(response), bool) if self.untrained else mask > 0
        if before is None:
            kept[:1] = False
        self.sources.append(sources[kept])
        self.targets.append(response[kept])
        self.trained.append(mask[kept])

    def layout(self) -> Layout:
        sequence: np.ndarray = np.repeat(np.arange(len(self.targets)), [len(each) for each in self.targets])
        return Layout(
            prompt_ids=tuple(self.prompt_ids),
            ids_T=_whole(self.ids),
            positions_T=_whole(self.positions),
            spans=tuple(span for span in self.spans if span.queries),
            sources_R=_whole(self.sources),
            targets_R=_whole(self.targets),
            sequence_R=torch.from_numpy(sequence),
            trained_R=torch.from_numpy(np.concatenate(self.trained)),
            lengths_S=torch.tensor([float(mask.sum()) for mask in self.trained]),
            read_sizes=_read_sizes(np.unique(np.concatenate(self.sources)), self.tokens),
        )


def _read_sizes(sources: np.ndarray, tokens: int) -> tuple[int, ...]:
    """Returns how many tokens in a row are no source, how many then are sources, and so on, beginning again.

    Args:
      sources: ascending.
      tokens: of the row.
    """
    # The last token of a response is none; a part of its own would cost more than it.
    breaks = [int(at) + 1 for at in np.flatnonzero(np.diff(sources) > 1 + 1)]
    runs = [run for run in np.split(sources, breaks) if len(run)]
    edges = [0, *(edge for run in runs for edge in (int(run[0]), int(run[-1]) + 1)), tokens]
    return tuple(stop - start for start, stop in pairwise(edges)) if runs else ()


def _whole(parts: list[np.ndarray]) -> torch.Tensor:
    return torch.from_numpy(np.concatenate(parts).astype(np.int64))
