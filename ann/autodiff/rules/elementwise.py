"""Elementwise functions. y = f(x)    dx = f′(x)·dy; two arguments broadcast, and their gradients are summed back."""

from __future__ import annotations

from typing import Any

from ann.autodiff.rules.table import fit, rule
from backends import namespace

Array = Any


@rule
def exp(x: Array) -> Any:
    """y = eˣ    dx = y·dy"""
    y = namespace(x).exp(x)
    return y, lambda dy: y * dy


@rule
def add(x1: Array, x2: Array) -> Any:
    """y = x₁ + x₂    dx₁ = dy    dx₂ = dy"""
    y = namespace(x1, x2).add(x1, x2)
    return y, lambda dy: fit(dy, x1), lambda dy: fit(dy, x2)


@rule
def subtract(x1: Array, x2: Array) -> Any:
    """y = x₁ − x₂    dx₁ = dy    dx₂ = −dy"""
    y = namespace(x1, x2).subtract(x1, x2)
    return y, lambda dy: fit(dy, x1), lambda dy: fit(-dy, x2)


@rule
def multiply(x1: Array, x2: Array) -> Any:
    """y = x₁·x₂    dx₁ = dy·x₂    dx₂ = dy·x₁"""
    y = namespace(x1, x2).multiply(x1, x2)
    return y, lambda dy: fit(dy * x2, x1), lambda dy: fit(dy * x1, x2)
