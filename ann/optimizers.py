"""Optimizers: how parameters follow their gradients. Frozen configuration and a pure step, in the letters of the papers.

    slots = opt.init(params)
    params, slots = opt.step(params, grads, slots)

slots: a dict of trees; "t" (int32) counts the updates and "learning_rate" is the next rate, 0-d arrays beside the parameters.
The arithmetic is that of torch.optim; what is Keras's is the meaning of weight_decay: decoupled, p ← p − η·λ·p. (torch's
weight_decay of SGD, Adam and RMSprop, a term in the gradient, is called l2 here.)
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

from ann.names import choose
from backends import namespace, tree
from backends.gaps import device

Array = Any
Tree = Any


@dataclass(frozen=True)
class Optimizer:
    """What all have in common. learning_rate: a number, or a schedule η(t); t counts the updates from 0.

    weight_decay: λ; l2: g ← g + l2·p; clipvalue: each entry of the gradient to ±c; clipnorm: each gradient to norm c;
    global_clipnorm: all gradients together to norm c: g ← g·min(1, c/‖g‖).
    """

    learning_rate: Any = 0.01
    weight_decay: float = field(default=0.0, kw_only=True)
    l2: float = field(default=0.0, kw_only=True)
    clipvalue: float | None = field(default=None, kw_only=True)
    clipnorm: float | None = field(default=None, kw_only=True)
    global_clipnorm: float | None = field(default=None, kw_only=True)
    moments: ClassVar[tuple[str, ...]] = ()  # the names of the trees in the slots
    scalars: ClassVar[dict[str, float]] = {}  # the running numbers in the slots, as they start

    def __post_init__(self) -> None:
        who = type(self).__name__
        if not callable(self.learning_rate) and not (isinstance(self.learning_rate, int | float) and 0 <= self.learning_rate < math.inf):
            raise ValueError(f"{who}: learning_rate is a non-negative number or a schedule, {self.learning_rate!r} came")
        for name in ("clipvalue", "clipnorm", "global_clipnorm"):
            if (value := getattr(self, name)) is not None and not value > 0:
                raise ValueError(f"{who}: {name} is positive, {value!r} came")
        for name in ("weight_decay", "l2", "epsilon"):
            if not getattr(self, name, 0.0) >= 0:
                raise ValueError(f"{who}: {name} is not negative, {getattr(self, name)!r} came")
        for name in ("momentum", "beta_1", "beta_2", "rho"):
            if not 0 <= getattr(self, name, 0.0) < 1:
                raise ValueError(f"{who}: {name} is at least 0 and less than 1, {getattr(self, name)!r} came")

    def init(self, params: Tree) -> dict[str, Any]:
        """The slots before the first step."""
        leaves = tree.leaves(params)
        if not leaves:
            return {"t": None, "learning_rate": None, **dict.fromkeys(self.scalars), **{name: {} for name in self.moments}}
        like = leaves[0]
        xp = namespace(like)
        t = xp.zeros((), dtype=xp.int32, device=device(like))
        zero = _cast(t, like)
        running = {name: zero + value for name, value in self.scalars.items()}
        return {"t": t, "learning_rate": self._rate(zero), **running, **{name: tree.map(self.start, params) for name in self.moments}}

    def step(self, params: Tree, grads: Tree, slots: dict[str, Any]) -> tuple[Tree, dict[str, Any]]:
        """(params, slots) after one update; nothing that came is written to."""
        if slots["t"] is None:
            return params, slots
        ps = tree.leaves(params)
        gs = _beside(params, self._clipped(grads))
        ms = [_beside(params, slots[name]) for name in self.moments]
        t = _cast(slots["t"], ps[0])
        rate = self._rate(t) if callable(self.learning_rate) else slots["learning_rate"]
        shared = self.prepare(t + 1.0, *(slots[name] for name in self.scalars))
        updated = []
        for i, (p, g) in enumerate(zip(ps, gs, strict=True)):
            eta = _cast(rate, p)
            if self.l2:
                g = g + self.l2 * p
            if self.weight_decay and self.decays(p):
                p = p - (eta * self.weight_decay) * p
            updated.append(self.rule(p, g, eta, *(m[i] for m in ms), **{key: _cast(value, p) for key, value in shared.items()}))
        new: dict[str, Any] = {name: shared[name] for name in self.scalars}
        new |= {name: tree.fill(params, [row[1 + i] for row in updated]) for i, name in enumerate(self.moments)}
        following = self._rate(t + 1.0) if callable(self.learning_rate) else rate
        return tree.fill(params, [row[0] for row in updated]), {"t": slots["t"] + 1, "learning_rate": following, **new}

    def start(self, p: Array) -> Array:
        """The moments of one array before the first step."""
        return namespace(p).zeros_like(p)

    def rule(self, p: Array, g: Array, eta: Array, *moments: Array, **shared: Array) -> tuple[Array, ...]:
        """(p, *moments) after one update of one array."""
        raise NotImplementedError

    def prepare(self, t: Array, *scalars: Array) -> dict[str, Array]:
        """What the rule takes besides, computed once a step from t = 1, 2, …: bias corrections, and the next running numbers."""
        return {}

    def decays(self, p: Array) -> bool:
        """Whether weight decay applies to this array."""
        return True

    def rate(self, slots: dict[str, Any]) -> float:
        """The learning rate of the next update."""
        return float(slots["learning_rate"])

    def with_rate(self, value: float) -> Optimizer:
        """The same optimizer with this constant learning rate."""
        return replace(self, learning_rate=value)

    def _rate(self, t: Array) -> Array:
        return self.learning_rate(t) if callable(self.learning_rate) else t * 0.0 + float(self.learning_rate)

    def _clipped(self, grads: Tree) -> Tree:
        if self.clipvalue is not None:
            c = self.clipvalue
            grads = tree.map(lambda g: namespace(g).minimum(namespace(g).maximum(g, -c), c), grads)
        if self.clipnorm is not None:
            c = self.clipnorm
            grads = tree.map(lambda g: g * _shrink(norm([g]), c), grads)
        if self.global_clipnorm is not None:
            scale = _shrink(norm(tree.leaves(grads)), self.global_clipnorm)
            grads = tree.map(lambda g: g * _cast(scale, g), grads)
        return grads


def _beside(params: Tree, other: Tree) -> list[Array]:
    """The leaves of another tree, matched by key, in the order of the parameters."""
    return tree.leaves(tree.map(lambda p, x: x, params, other))


def norm(arrays: list[Array]) -> Array:
    """√Σ g² over all arrays, as M·√Σ (g/M)² with M = max |g|: no square overflows."""
    xp = namespace(*arrays)
    like = arrays[0]
    arrays = [g for g in arrays if 0 not in g.shape]
    if not arrays:
        return xp.zeros((), dtype=like.dtype, device=device(like))
    largest = [_cast(xp.max(xp.abs(g)), arrays[0]) for g in arrays]
    m = largest[0]
    for other in largest[1:]:
        m = xp.maximum(m, other)
    safe = xp.where(m > 0, m, xp.ones_like(m))
    total = safe * 0.0
    for g in arrays:
        scaled = g / _cast(safe, g)
        total = total + _cast(xp.sum(scaled * scaled), total)
    return m * xp.sqrt(total)


def _shrink(n: Array, c: float) -> Array:
    """min(1, c/n)"""
    xp = namespace(n)
    return xp.where(n > c, c / xp.where(n > c, n, xp.ones_like(n)), xp.ones_like(n))


def _cast(x: Array, like: Array) -> Array:
    return x if x.dtype == like.dtype else namespace(x).astype(x, like.dtype)


@dataclass(frozen=True)
class SGD(Optimizer):
    """v ← μ·v + g    p ← p − η·v      with nesterov: p ← p − η·(g + μ·v)      Sutskever et al. 2013, as torch.optim.SGD"""

    momentum: float = 0.0
    nesterov: bool = False

    @property
    def moments(self) -> tuple[str, ...]:  # type: ignore[override]
        return ("v",) if self.momentum else ()

    def rule(self, p: Array, g: Array, eta: Array, *moments: Array, **shared: Array) -> tuple[Array, ...]:
        if not moments:
            return (p - eta * g,)
        v = self.momentum * moments[0] + g
        return p - eta * (g + self.momentum * v if self.nesterov else v), v


@dataclass(frozen=True)
class _Moments(Optimizer):
    """Those that follow m, the mean of the gradients, beside v, the mean of their squares."""

    learning_rate: Any = 1e-3
    beta_1: float = 0.9
    beta_2: float = 0.999
    epsilon: float = 1e-8

    @property
    def moments(self) -> tuple[str, ...]:  # type: ignore[override]
        return ("m", "v")


@dataclass(frozen=True)
class Adam(_Moments):
    """m ← β₁m + (1 − β₁)g    v ← β₂v + (1 − β₂)g²    p ← p − η·m̂/(√v̂ + ε),  m̂ = m/(1 − β₁ᵗ), v̂ = v/(1 − β₂ᵗ)

    computed as p − (η·r/(1 − β₁ᵗ))·m/(√v + ε·r), r = √(1 − β₂ᵗ): one division for each element, not two.
    amsgrad: u ← max(u, v), and û = u/(1 − β₂ᵗ) stands for v̂.
    Kingma & Ba 2015, algorithm 1 (not its ε̂ form, which Keras has); Reddi et al. 2018, as torch.optim.Adam.
    """

    amsgrad: bool = False

    @property
    def moments(self) -> tuple[str, ...]:  # type: ignore[override]
        return ("m", "v", "u") if self.amsgrad else ("m", "v")

    def prepare(self, t: Array, *scalars: Array) -> dict[str, Array]:
        r = namespace(t).sqrt(_correction(self.beta_2, t))
        return {"by_m": r / _correction(self.beta_1, t), "epsilon": self.epsilon * r}

    def rule(self, p: Array, g: Array, eta: Array, *moments: Array, **shared: Array) -> tuple[Array, ...]:
        xp = namespace(p, g)
        m, v, *u = moments
        m = self.beta_1 * m + (1.0 - self.beta_1) * g
        v = self.beta_2 * v + (1.0 - self.beta_2) * (g * g)
        u = [xp.maximum(u[0], v)] if u else []
        return p - (eta * shared["by_m"]) * m / (xp.sqrt(u[0] if u else v) + shared["epsilon"]), m, v, *u


def _correction(beta: float, t: Array) -> Array:
    """1 − βᵗ without losing digits."""
    return -namespace(t).expm1(t * math.log(beta)) if beta else t * 0.0 + 1.0


@dataclass(frozen=True)
class AdamW(Adam):
    """Adam with decoupled weight decay: p ← p − η·λ·p first.      Loshchilov & Hutter 2019, as torch.optim.AdamW

    Vectors (biases, the scales of normalizations) are not decayed unless decay_vectors=True.
    """

    weight_decay: float = field(default=0.01, kw_only=True)
    decay_vectors: bool = field(default=False, kw_only=True)

    def decays(self, p: Array) -> bool:
        return self.decay_vectors or len(p.shape) > 1


@dataclass(frozen=True)
class Nadam(_Moments):
    """p ← p − η·(μ′·m/(1 − Π·μ′) + (1 − μ)·g/(1 − Π))/(√v̂ + ε),  m, v as Adam; μ = β₁·(1 − ½·0.96^(t·ψ)), μ′ the next μ, Π ← Π·μ

    Adam with Nesterov's look ahead.      ψ: momentum_decay (1: Keras).      Dozat 2016, as torch.optim.NAdam
    """

    momentum_decay: float = 0.004
    scalars: ClassVar[dict[str, float]] = {"product": 1.0}

    def prepare(self, t: Array, *scalars: Array) -> dict[str, Array]:
        xp = namespace(t)
        mu, following = (self.beta_1 * (1.0 - 0.5 * xp.exp(k * (self.momentum_decay * math.log(0.96)))) for k in (t, t + 1.0))
        product = scalars[0] * mu
        ahead = following / (1.0 - product * following)
        return {"product": product, "by_m": ahead, "by_g": (1.0 - mu) / (1.0 - product), "c2": _correction(self.beta_2, t)}

    def rule(self, p: Array, g: Array, eta: Array, *moments: Array, **shared: Array) -> tuple[Array, ...]:
        m, v = moments
        m = self.beta_1 * m + (1.0 - self.beta_1) * g
        v = self.beta_2 * v + (1.0 - self.beta_2) * (g * g)
        d = shared["by_m"] * m + shared["by_g"] * g
        return p - eta * d / (namespace(p, g).sqrt(v / shared["c2"]) + self.epsilon), m, v


@dataclass(frozen=True)
class RAdam(_Moments):
    """m̂, v as Adam; ρ = ρ∞ − 2t·β₂ᵗ/(1 − β₂ᵗ), ρ∞ = 2/(1 − β₂) − 1

    p ← p − η·r·m̂·√(1 − β₂ᵗ)/(√v + ε), r = √((ρ − 4)(ρ − 2)ρ∞/((ρ∞ − 4)(ρ∞ − 2)ρ)) where ρ > 5, else p ← p − η·m̂: while v is
    made of few gradients it does not divide.      Liu et al. 2020, as torch.optim.RAdam
    """


    def prepare(self, t: Array, *scalars: Array) -> dict[str, Array]:
        xp = namespace(t)
        last = 2.0 / (1.0 - self.beta_2) - 1.0
        c2 = _correction(self.beta_2, t)
        rho = last - 2.0 * t * (1.0 - c2) / c2
        sure = rho > 5.0
        rho, last = xp.where(sure, rho, 6.0), max(last, 6.0)
        r = xp.sqrt((rho - 4.0) * (rho - 2.0) * last / ((last - 4.0) * (last - 2.0) * rho) * c2)
        return {"c1": _correction(self.beta_1, t), "r": xp.where(sure, r, 0.0), "plain": xp.where(sure, 0.0, xp.ones_like(t))}

    def rule(self, p: Array, g: Array, eta: Array, *moments: Array, **shared: Array) -> tuple[Array, ...]:
        m, v = moments
        m = self.beta_1 * m + (1.0 - self.beta_1) * g
        v = self.beta_2 * v + (1.0 - self.beta_2) * (g * g)
        return p - (eta / shared["c1"]) * m * (shared["r"] / (namespace(p, g).sqrt(v) + self.epsilon) + shared["plain"]), m, v


@dataclass(frozen=True)
class Adamax(_Moments):
    """m as Adam    u ← max(β₂·u, |g| + ε)    p ← p − η·m̂/u      Kingma & Ba 2015, algorithm 2, as torch.optim.Adamax"""

    @property
    def moments(self) -> tuple[str, ...]:  # type: ignore[override]
        return ("m", "u")

    def prepare(self, t: Array, *scalars: Array) -> dict[str, Array]:
        return {"c1": _correction(self.beta_1, t)}

    def rule(self, p: Array, g: Array, eta: Array, *moments: Array, **shared: Array) -> tuple[Array, ...]:
        xp = namespace(p, g)
        m, u = moments
        m = self.beta_1 * m + (1.0 - self.beta_1) * g
        u = xp.maximum(self.beta_2 * u, xp.abs(g) + self.epsilon)
        return p - (eta / shared["c1"]) * m / u, m, u


@dataclass(frozen=True)
class Lion(Optimizer):
    """p ← p − η·sign(β₁m + (1 − β₁)g)    m ← β₂m + (1 − β₂)g      Chen et al. 2023; its η is 3 to 10 times smaller than Adam's"""

    learning_rate: Any = 1e-3
    beta_1: float = 0.9
    beta_2: float = 0.99
    moments: ClassVar[tuple[str, ...]] = ("m",)

    def rule(self, p: Array, g: Array, eta: Array, *moments: Array, **shared: Array) -> tuple[Array, ...]:
        xp = namespace(p, g)
        c = self.beta_1 * moments[0] + (1.0 - self.beta_1) * g
        sign = xp.astype(c > 0, p.dtype) - xp.astype(c < 0, p.dtype)
        return p - eta * sign, self.beta_2 * moments[0] + (1.0 - self.beta_2) * g


@dataclass(frozen=True)
class RMSprop(Optimizer):
    """v ← ρv + (1 − ρ)g²    p ← p − η·g/(√v + ε)      Tieleman & Hinton 2012, as torch.optim.RMSprop

    centered: a ← ρa + (1 − ρ)g, and v − a² stands for v. momentum: b ← μ·b + g/(√v + ε), and p ← p − η·b.
    """

    learning_rate: Any = 1e-3
    rho: float = 0.9
    momentum: float = 0.0
    epsilon: float = 1e-8
    centered: bool = False

    @property
    def moments(self) -> tuple[str, ...]:  # type: ignore[override]
        return ("v", *("a" for _ in range(self.centered)), *("b" for _ in range(self.momentum > 0)))

    def rule(self, p: Array, g: Array, eta: Array, *moments: Array, **shared: Array) -> tuple[Array, ...]:
        xp = namespace(p, g)
        named = dict(zip(self.moments, moments, strict=True))
        v = named["v"] = self.rho * named["v"] + (1.0 - self.rho) * (g * g)
        if self.centered:
            a = named["a"] = self.rho * named["a"] + (1.0 - self.rho) * g
            v = xp.maximum(v - a * a, 0.0)
        d = g / (xp.sqrt(v) + self.epsilon)
        if self.momentum:
            d = named["b"] = self.momentum * named["b"] + d
        return p - eta * d, *named.values()


@dataclass(frozen=True)
class Adagrad(Optimizer):
    """G ← G + g²    p ← p − η·g/(√G + ε)      Duchi et al. 2011, as torch.optim.Adagrad"""

    learning_rate: Any = 1e-3
    initial_accumulator_value: float = 0.0
    epsilon: float = 1e-10
    moments: ClassVar[tuple[str, ...]] = ("G",)

    def start(self, p: Array) -> Array:
        return namespace(p).full_like(p, self.initial_accumulator_value)

    def rule(self, p: Array, g: Array, eta: Array, *moments: Array, **shared: Array) -> tuple[Array, ...]:
        G = moments[0] + g * g
        return p - eta * g / (namespace(p, g).sqrt(G) + self.epsilon), G


@dataclass(frozen=True)
class Adadelta(Optimizer):
    """v ← ρv + (1 − ρ)g²    d = g·√(u + ε)/√(v + ε)    u ← ρu + (1 − ρ)d²    p ← p − η·d      Zeiler 2012, as torch.optim.Adadelta"""

    learning_rate: Any = 1.0
    rho: float = 0.9
    epsilon: float = 1e-6
    moments: ClassVar[tuple[str, ...]] = ("v", "u")

    def rule(self, p: Array, g: Array, eta: Array, *moments: Array, **shared: Array) -> tuple[Array, ...]:
        xp = namespace(p, g)
        v, u = moments
        v = self.rho * v + (1.0 - self.rho) * (g * g)
        d = g * xp.sqrt(u + self.epsilon) / xp.sqrt(v + self.epsilon)
        return p - eta * d, v, self.rho * u + (1.0 - self.rho) * (d * d)


OPTIMIZERS: dict[str, type[Optimizer]] = {
    kind.__name__.lower(): kind for kind in (SGD, Adam, AdamW, Nadam, RAdam, Adamax, Lion, RMSprop, Adagrad, Adadelta)
}


def get(optimizer: Any) -> Any:
    """The optimizer of this name with its defaults; an object with init and step as it is. ValueError with the nearest name."""
    return choose(optimizer, OPTIMIZERS, "optimizer", "an object with init and step", lambda o: hasattr(o, "init") and hasattr(o, "step"))


__all__ = ["SGD", "Adadelta", "Adagrad", "Adam", "AdamW", "Adamax", "Lion", "Nadam", "Optimizer", "RAdam", "RMSprop"]
