"""Optimization without networks: the least value of a function of a tree of arrays, the best fit of a curve."""

from ann.optimization.fit import Fit
from ann.optimization.lbfgs import LBFGS
from ann.optimization.minimum import minimize
from ann.optimization.squares import least_squares

__all__ = ["LBFGS", "Fit", "least_squares", "minimize"]
