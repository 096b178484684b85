"""Data sets: real ones that ship with the package, and generated ones."""

from ann.datasets.digits import digits
from ann.datasets.generated import moons, spirals, xor

__all__ = ["digits", "moons", "spirals", "xor"]
