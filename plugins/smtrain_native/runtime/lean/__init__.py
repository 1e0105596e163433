"""What a decoder computes beside attention, in fewer passes over memory and with less kept for the backward pass.

A norm's output and a gated product are cheap to compute, and large. They are not kept here: the products of matrices
that read them make them again (as Korthikanti et al. 2022, arXiv 2205.05198, compute again what is large and cheap).
"""

from smtrain_native.runtime.lean.installing import install
from smtrain_native.runtime.lean.last_layer import narrow
from smtrain_native.runtime.lean.linear import product

__all__ = ["install", "narrow", "product"]
