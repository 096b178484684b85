"""Curves: a function and its derivative, a training's history, a fit through points, a path down a loss surface."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

from ann import functions
from ann.autodiff import vjp
from ann.plot.figure import BLUE, COLORS, FAINT, GREY, ORANGE, new, number, on_host, single
from backends import host

Array = Any


def activation(f: str | Callable[[Array], Array], low: float = -5.0, high: float = 5.0, *, ax: Any = None, title: str | None = None) -> Any:
    """A function y = f(x), or an activation's name, and its derivative dy/dx, which is drawn from f's own rule."""
    f = functions.activation(f)
    x = host.linspace(low, high, 801)
    y, pull = vjp(f, x)
    figure, axes = single(ax, 4.8, 3.4)
    axes.axhline(0, color=FAINT, linewidth=0.8, zorder=0)
    axes.axvline(0, color=FAINT, linewidth=0.8, zorder=0)
    axes.plot(x, y, color=BLUE, linewidth=2, label="y = f(x)")
    axes.plot(x, pull(host.ones_like(x)), color=ORANGE, linewidth=1.6, linestyle="--", label="dy/dx")
    axes.set(title=getattr(f, "__name__", "f") if title is None else title, xlabel="x", xlim=(low, high))
    axes.legend(frameon=False)
    return figure


def history(h: Any, *, title: str | None = None) -> Any:
    """The values of each epoch, validation dashed: the losses, the metrics, and the learning rate where it was noted."""
    names = [name for name, values in h.history.items() if not name.startswith("val_") and isinstance(values[0], int | float)]  # no matrices
    losses = [name for name in names if "loss" in name]
    rates = [name for name in names if name in ("learning_rate", "lr")]
    metrics = [name for name in names if name not in losses and name not in rates]
    groups = {"loss": losses, ", ".join(metrics) if len(metrics) < 4 else "metrics": metrics, "learning rate": rates}
    groups = {heading: group for heading, group in groups.items() if group}
    if not groups:
        raise ValueError("history: there is no epoch to draw; fit first")
    figure, axes = new(4.4 * len(groups), 3.3, 1, len(groups))
    epochs = [epoch + 1 for epoch in h.epoch]
    for one, (heading, group) in zip(axes, groups.items(), strict=True):
        for color, name in zip(itertools.cycle(COLORS), group, strict=False):
            one.plot(epochs, h[name], color=color, label=name, marker="." if len(epochs) == 1 else None)
            if f"val_{name}" in h.history:
                one.plot(epochs, h[f"val_{name}"], color=color, linestyle="--", label=f"val_{name}", marker="x" if len(epochs) == 1 else None)
        one.xaxis.get_major_locator().set_params(integer=True)
        one.set(xlabel="epoch", title=heading)
        if heading == "learning rate":
            one.set_yscale("log")
        if len(one.lines) > 1 or len(group) > 1:
            one.legend(frameon=False)
    if title is not None:
        figure.suptitle(title)
    return figure


def curve(f: Any, x: Array, y: Array, *, ax: Any = None, title: str | None = None) -> Any:
    """Points (x, y) of one variable and the curve of f through them: f is a Model, or a function of an array (n, 1)."""
    x, y = on_host(x).reshape(-1), on_host(y).reshape(-1)
    margin = 0.05 * float(x.max() - x.min() or 1.0)
    grid = host.linspace(float(x.min()) - margin, float(x.max()) + margin, 400).astype(x.dtype)
    figure, axes = single(ax, 4.8, 3.4)
    axes.plot(x, y, "o", color=GREY, markersize=3.5, alpha=0.6, markeredgewidth=0, label="data")
    axes.plot(grid, on_host(getattr(f, "predict", f)(grid.reshape(-1, 1))).reshape(-1), color=BLUE, linewidth=2, label="f(x)")
    axes.set(xlabel="x", ylabel="y", title="" if title is None else title)
    axes.legend(frameon=False)
    return figure


def loss_surface(
    f: Callable[[float, float], Any], path: Any = None, *, x: tuple[float, float] | None = None, y: tuple[float, float] | None = None,
    names: tuple[str, str] = ("a", "b"), label: str = "loss", resolution: int = 81, ax: Any = None, title: str | None = None,
) -> Any:  # fmt: skip
    """The contours of a loss f(a, b) of two numbers, and the path of a descent across it, from ○ to ●.

    path: points (steps, 2), or a dict of several by name. x, y: the ranges of a and b; without them, those of the path
    with a margin. The contours lie at equal shares of the surface, so that the floor of a valley shows as well as its walls.
    """
    paths = {name: on_host(points) for name, points in (path if isinstance(path, dict) else {"": path} if path is not None else {}).items()}
    for name, points in paths.items():
        if points.ndim != 2 or points.shape[1] != 2:
            raise ValueError(f"loss_surface: path {name!r} has shape {points.shape}; wanted: points (steps, 2)")
    if (x is None or y is None) and not paths:
        raise ValueError("loss_surface: without a path, give the ranges: x=(low, high), y=(low, high)")
    ranges = []
    for axis, given in enumerate((x, y)):
        if given is None:
            low = min(float(points[:, axis].min()) for points in paths.values())
            high = max(float(points[:, axis].max()) for points in paths.values())
            margin = 0.25 * (high - low) or 1.0
            given = (low - margin, high + margin)
        ranges.append(host.linspace(*given, resolution))
    z = host.asarray([[float(f(float(a), float(b))) for a in ranges[0]] for b in ranges[1]])
    levels = host.unique(host.quantile(z[host.isfinite(z)], host.linspace(0, 1, 18)))
    figure, axes = single(ax, 5.2, 4.2)
    if len(levels) > 1:
        from matplotlib.colors import BoundaryNorm
        from matplotlib.ticker import FuncFormatter

        filled = axes.contourf(*ranges, z, levels=levels, cmap="Blues_r", norm=BoundaryNorm(levels, 256), alpha=0.85)
        axes.contour(*ranges, z, levels=levels[1:], colors="white", linewidths=0.5, linestyles="solid")
        figure.colorbar(filled, ax=axes, label=label, format=FuncFormatter(lambda value, _: number(value)), ticks=levels[::3], shrink=0.9)
    for (name, points), color, marker in zip(paths.items(), itertools.cycle((ORANGE, "#000000", "#F0E442")), itertools.cycle("o^s"), strict=False):
        axes.plot(points[:, 0], points[:, 1], color=color, linewidth=1.5, marker="." if len(points) <= 60 else None, markersize=4, label=name)
        axes.plot(*points[0], marker=marker, color="white", markeredgecolor=color, markersize=7, markeredgewidth=1.6)
        axes.plot(*points[-1], marker=marker, color=color, markersize=7)
    axes.set(xlabel=names[0], ylabel=names[1], title="" if title is None else title, xlim=(ranges[0][0], ranges[0][-1]), ylim=(ranges[1][0], ranges[1][-1]))
    if any(paths):
        axes.legend(framealpha=0.9)
    return figure


