"""Automatic differentiation of any Array API code: primitives, the tape, the rules of the standard, transformations."""

from ann.autodiff.check import check_gradients
from ann.autodiff.primitive import Primitive, primitive
from ann.autodiff.rules import differentiable
from ann.autodiff.transforms import checkpoint, grad, hessian, hvp, jacobian, jvp, stop_gradient, value_and_grad, vjp

__all__ = [
    "Primitive",
    "check_gradients",
    "checkpoint",
    "differentiable",
    "grad",
    "hessian",
    "hvp",
    "jacobian",
    "jvp",
    "primitive",
    "stop_gradient",
    "value_and_grad",
    "vjp",
]
