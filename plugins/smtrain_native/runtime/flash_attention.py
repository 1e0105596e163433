"""FlashAttention: one kernel for a whole packed row, which GPUs have."""

from __future__ import annotations

import functools
import importlib.util
import inspect
from dataclasses import dataclass

import torch
from torch.nn.functional import pad

from smtrain_native.runtime.layout import Layout

_WIDEST = 256
"""Of the heads that FlashAttention 2 computes."""

_AMPERE = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """Where sequences begin and end.

    Attributes:
      keys_K: token whose key stands at each place; None when that is its own.
      query_ends: cumulative numbers of queries, from 0; int32.
      key_ends: cumulative numbers of keys, from 0; int32.
      max_queries: of one sequence.
      max_keys: of one sequence.
    """

    keys_K: torch.Tensor | None
    query_ends: torch.Tensor
    key_ends: torch.Tensor
    max_queries: int
    max_keys: int


def why_not(device: torch.device, dtype: torch.dtype, width: int) -> str | None:
    """Returns why one kernel cannot do a whole row; None if it can.

    Args:
      device: where it computes.
      dtype: in what.
      width: of the widest head.
    """
    if device.type != "cuda":
        return "there is no such kernel for CPUs"
    if dtype not in (torch.bfloat16, torch.float16):
        return "the kernel computes in 16 bits"
    if width > _WIDEST:
        return f"a head is {width} wide, and the kernel's at most {_WIDEST}"
    if torch.cuda.get_device_capability(device)[0] < _AMPERE:
        return "the kernel takes a GPU of Ampere or later"
    return None if source() else "flash-attn is not installed, and torch has the kernel since 2.12"


@functools.cache
def source() -> str | None:
    """Returns the package whose kernel it would be; None where none has one."""
    if importlib.util.find_spec("flash_attn") is not None:
        return "flash_attn"
    return "torch" if _torch_has_it() else None


def rows(layout: Layout, device: torch.device) -> Rows:
    """Returns the rows of a layout: keys of a shared prompt are laid in front of each response that sees them."""
    spans = layout.spans
    ends = [torch.tensor([0, *(getattr(span, of) for span in spans)]).cumsum(0) for of in ("queries", "keys")]
    index = None
    if any(span.prefix for span in spans):
        parts = [
            torch.arange(start, stop)
            for span in spans
            for start, stop in ((span.prefix_start, span.prefix_stop), (span.start, span.stop))
        ]
        index = torch.cat(parts).to(device)
    return Rows(
        keys_K=index,
        query_ends=ends[0].to(device, torch.int32),
        key_ends=ends[1].to(device, torch.int32),
        max_queries=max(span.queries for span in spans),
        max_keys=max(span.keys for span in spans),
    )


def attend(
    told: Rows,
    query_1HTD: torch.Tensor,
    key_1KTD: torch.Tensor,
    value_1KTD: torch.Tensor,
    scaling: float | None,
    window: int | None,
) -> torch.Tensor:
    """Attends, and returns shape (1, T, H, D).

    FlashAttention aligns the causal mask to the last query and the last key of a sequence (since its 2.1), which is
    just what a response with a prompt in front of it needs.

    Args:
      told: where sequences begin and end.
      query_1HTD: queries.
      key_1KTD: keys.
      value_1KTD: values.
      scaling: of the scores; None is 1/√D.
      window: a token sees so many tokens, itself included.
    """
    device = query_1HTD.device.type
    # Autocast knows nothing of such a kernel, and rotating by angles in fp32 has made queries and keys fp32.
    dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else query_1HTD.dtype
    query_THD, key_TKD, value_TKD = (
        each.squeeze(0).transpose(0, 1).to(dtype) for each in (query_1HTD, key_1KTD, value_1KTD)
    )
    if told.keys_K is not None:
        key_TKD, value_TKD = key_TKD.index_select(0, told.keys_K), value_TKD.index_select(0, told.keys_K)
    width = value_TKD.shape[-1]
    if width != key_TKD.shape[-1]:  # of DeepSeek's latent attention; such a kernel knows one width
        value_TKD = pad(value_TKD, (0, key_TKD.shape[-1] - width))
    kernel = _of_flash_attn if source() == "flash_attn" else _of_torch
    out_THD = kernel(query_THD, key_TKD, value_TKD, told, scaling, -1 if window is None else window - 1)
    return out_THD[..., :width].unsqueeze(0)


def _torch_has_it() -> bool:
    """Whether torch has the kernel with all that is asked of it: since 2.12; 2.10 had neither scale nor window."""
    try:
        from torch.nn.attention.varlen import varlen_attn
    except ImportError:
        return False
    return {"scale", "window_size", "enable_gqa"} <= inspect.signature(varlen_attn).parameters.keys()


def _of_flash_attn(
    query_THD: torch.Tensor, key_TKD: torch.Tensor, value_TKD: torch.Tensor, told: Rows,
    scaling: float | None, window: int,
) -> torch.Tensor:  # fmt: skip
    from flash_attn import flash_attn_varlen_func  # type: ignore[import-not-found]  # where a GPU is

    found: torch.Tensor = flash_attn_varlen_func(
        query_THD, key_TKD, value_TKD, told.query_ends, told.key_ends, told.max_queries, told.max_keys,
        softmax_scale=scaling, causal=True, window_size=(window, 0 if window >= 0 else -1),
    )  # fmt: skip
    return found


def _of_torch(
    query_THD: torch.Tensor, key_TKD: torch.Tensor, value_TKD: torch.Tensor, told: Rows,
    scaling: float | None, window: int,
) -> torch.Tensor:  # fmt: skip
    from torch.nn.attention.varlen import varlen_attn

    found: torch.Tensor = varlen_attn(
        query_THD.contiguous(), key_TKD.contiguous(), value_TKD.contiguous(), told.query_ends, told.key_ends,
        told.max_queries, told.max_keys, scale=scaling, window_size=(window, 0),
        enable_gqa=query_THD.shape[1] != key_TKD.shape[1],
    )  # fmt: skip
    return found
