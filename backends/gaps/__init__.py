"""Gap functions: what the Array API standard lacks, each as one portable definition that a library may replace."""

from backends.gaps.bits import random_bits
from backends.gaps.contraction import einsum
from backends.gaps.device import device
from backends.gaps.loop import scan
from backends.gaps.scatter import get_item, scatter_add, set_item
from backends.gaps.special import digamma, erf, erfc, lgamma, trigamma
from backends.gaps.window import fold, windows

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
    "windows",
]
