"""What all pictures share: figures that need no display, colours that the colour-blind can tell apart, arrays on the host."""

from __future__ import annotations

import functools
import io
from typing import Any

from backends import host, library_of

Array = Any

# Okabe & Ito 2008: told apart with every common kind of colour vision, and by their lightness in print
BLUE, ORANGE, GREEN, PURPLE, SKY, YELLOW, BLACK = "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000"
COLORS = (BLUE, ORANGE, GREEN, PURPLE, SKY, YELLOW, BLACK)
MARKERS = "os^DvP*X<>"
GREY, FAINT = "#666666", "#D8D8D8"


def new(width: float, height: float, rows: int = 1, columns: int = 1) -> tuple[Any, list[Any]]:
    """(figure, its axes row by row), sizes in inches. ImportError naming the extra where matplotlib is missing."""
    figure = _figure_class()(figsize=(width, height), dpi=150, layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False)
    axes = list(grid.ravel())
    for one in axes:
        one.spines[["top", "right"]].set_visible(False)
    return figure, axes


def single(ax: Any, width: float, height: float) -> tuple[Any, Any]:
    """(figure, axes): those that were given, or new ones."""
    if ax is not None:
        return ax.figure, ax
    figure, axes = new(width, height)
    return figure, axes[0]


@functools.cache
def _figure_class() -> Any:
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise ImportError("ann.plot needs matplotlib: pip install 'ann-array-api[plot]'") from None

    class Picture(Figure):
        """A figure without pyplot, hence without a window and a global list; a notebook shows it by itself."""

        def _repr_png_(self) -> bytes:
            file = io.BytesIO()
            self.savefig(file, format="png")
            return file.getvalue()

    return Picture


def on_host(x: Any) -> Array:
    """An array of any library, or a list of numbers, as a NumPy array."""
    try:
        return library_of(x).fetch(x)
    except TypeError:
        return host.asarray(x)


def number(value: float) -> str:
    """A number in few characters, with a true minus."""
    return f"{value:.3g}".replace("-", "\N{MINUS SIGN}")


def logarithmic_ticks(axis: Any, low: float, high: float) -> None:
    """Few enough labels to read: 1, 2, 5, 10 over one or two decades, powers of ten over more."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    if high / low < 300:
        axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if high / low < 60 else (1.0, 3.0)))
        axis.set_major_formatter(FuncFormatter(lambda value, _: number(value)))
    axis.set_minor_formatter(NullFormatter())
