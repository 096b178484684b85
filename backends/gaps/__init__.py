"""What the standard lacks: one portable definition each, which is the specification; libraries may bring native versions."""

from backends.gaps.bits import random_bits
from backends.gaps.contraction import einsum
from backends.gaps.device import device
from backends.gaps.loop import scan
from backends.gaps.scatter import get_item, scatter_add, set_item
from backends.gaps.special import digamma, erf, erfc, lgamma, trigamma
from backends.gaps.window import fold, window_count, windows

__all__ = [
    "device",
    "digamma",
    "einsum",
    "erf",
    "erfc",
    "fold",
    "get_item",
    "lgamma",
    "random_bits",
    "scan",
    "scatter_add",
    "set_item",
    "trigamma",
    "window_count",
    "windows",
]
