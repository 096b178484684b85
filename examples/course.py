"""What the steps of the course share: their options, and their pictures."""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np


def options(text: str) -> argparse.Namespace:
    """Print the title of a step (the first line of its text), and read the command line: backend, quick, out."""
    title = text.strip().partition("\n")[0]
    parser = argparse.ArgumentParser(description=title)
    parser.add_argument("--backend", help="numpy, cupy, torch, jax, auto, … (without it: $ANN_BACKEND, else numpy)")
    parser.add_argument("--quick", action="store_true", help="as little as shows that it runs; the numbers are then worse")
    parser.add_argument("--out", type=Path, default=Path("pictures"), help="the folder for pictures")
    print(title, "\n")
    return parser.parse_args()


def picture(options: argparse.Namespace, name: str, draw: Callable[[], Any]) -> None:
    """Write the figure that `draw` makes to the folder; without matplotlib, say what to install."""
    try:
        figure = draw()
    except ImportError:
        print(f"no picture {name}: it needs matplotlib, pip install 'ann-array-api[plot]'")
        return
    options.out.mkdir(parents=True, exist_ok=True)
    figure.savefig(options.out / f"{name}.png")
    print(f"picture: {options.out / name}.png")


def panels(columns: int, rows: int = 1, width: float = 4.2, height: float = 3.4) -> tuple[Any, list[Any]]:
    """A matplotlib figure with axes side by side, for pictures that take ax=."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width * columns, height * rows), dpi=150, layout="constrained")
    return figure, list(figure.subplots(rows, columns, squeeze=False).ravel())


def show(x: Any, digits: int = 4) -> str:
    """A host array in one line."""
    return np.array2string(np.asarray(x), precision=digits, suppress_small=True, max_line_width=1000, floatmode="fixed").replace("\n", "")
