"""What GPUs compute at best: dense matrix products in bf16, or fp16 where there is no bf16."""

from __future__ import annotations

import re

_TERA = 1e12

_PEAK = (
    # (word of the device's name, word that tells variants apart, peak in TFLOPS); the first that fits counts.
    # NVIDIA's data sheets as of January 2026; where those give the figure with sparsity, half of it.
    ("GB200", "", 2500),  # GB200 NVL72: 360 PFLOPS over 72 GPUs with sparsity
    ("B200", "", 2250),  # HGX B200: 36 PFLOPS over 8 GPUs with sparsity
    ("GH200", "", 989),
    ("H200", "NVL", 836),
    ("H200", "", 989),
    ("H100", "NVL", 835),
    ("H100", "PCIe", 756),
    ("H100", "", 989),  # SXM5
    ("A100", "", 312),  # SXM4 and PCIe, 40 and 80 GB
    ("L40S", "", 362),
    ("L40", "", 181),
    ("L4", "", 121),
    ("A10G", "", 70),
    ("A10", "", 125),
    ("V100", "PCIE", 112),  # fp16
    ("V100", "", 125),  # SXM2, fp16
    ("T4", "", 65),  # fp16
)


def peak_flops(device_name: str) -> float | None:
    """Returns the floating-point operations a second of a GPU at its best; None of one that is not known.

    Args:
      device_name: as `torch.cuda.get_device_name` gives it, "NVIDIA A100-SXM4-80GB".
    """
    words = re.split(r"[^A-Za-z0-9]+", device_name)
    if "MIG" in words:
        return None  # a slice of a GPU
    for model, variant, tera in _PEAK:
        if model in words and (not variant or variant in words):
            return tera * _TERA
    return None
