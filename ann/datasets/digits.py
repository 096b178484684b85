"""The handwritten digits of the UCI repository: 1,797 real images of 8×8 pixels, shipped with the package."""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import Any

from backends import host

Array = Any
COUNT = 1797


def digits() -> tuple[tuple[Array, Array], tuple[Array, Array]]:
    """(x_train, y_train), (x_test, y_test): NumPy float32 in [0, 1] of shape (n, 8, 8, 1), labels int64.

    1,437 images to train and 360 to test, split once and for all: with the images in the order of their classes, every fifth
    is held out, so each class has its share (35 to 37) in the test set.

    "Optical Recognition of Handwritten Digits", test part, E. Alpaydin & C. Kaynak 1998, UCI Machine Learning Repository,
    doi 10.24432/C50P49, CC BY 4.0. Each pixel counts the inked cells (0 … 16) of a 4×4 block.
    """
    content = zlib.decompress((Path(__file__).parent / "digits.bin").read_bytes())
    labels = host.frombuffer(content, dtype="uint8", count=COUNT)
    images = host.frombuffer(content, dtype="uint8", offset=COUNT).reshape(COUNT, 8, 8, 1)
    by_class = host.argsort(labels, kind="stable")
    held_out = host.zeros(COUNT, dtype="bool")
    held_out[by_class[1::5]] = True

    def part(chosen: Array) -> tuple[Array, Array]:
        return images[chosen].astype("float32") / host.asarray(16.0, dtype="float32"), labels[chosen].astype("int64")

    return part(~held_out), part(held_out)
