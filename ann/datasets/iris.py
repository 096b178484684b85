"""Fisher's irises: four lengths of 150 flowers of three species, shipped with the package."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ann.datasets.classes import CLASSES
from backends import host

Array = Any


def iris() -> tuple[tuple[Array, Array], tuple[Array, Array]]:
    """(x_train, y_train), (x_test, y_test): NumPy float32 of shape (n, 4), in centimetres; labels int64.

    The columns are the length and width of the sepals, the length and width of the petals; the classes setosa (0),
    versicolor (1) and virginica (2), 50 flowers each, which take turns: each stretch of the rows is balanced. 120 to train
    and 30 to test, split once and for all: every fifth flower of each species is held out.

    R. A. Fisher, "The use of multiple measurements in taxonomic problems", Annals of Eugenics 7, 1936, with the numbers of
    that paper, as scikit-learn ships them (UCI's file differs in two flowers). UCI Machine Learning Repository,
    doi 10.24432/C56C76, CC BY 4.0.
    """
    rows = [line.split(",") for line in (Path(__file__).parent / "iris.csv").read_text(encoding="utf-8").splitlines()[1:]]
    x = host.asarray([[float(value) for value in row[:4]] for row in rows], dtype="float32")
    y = host.asarray([CLASSES["iris"].index(row[4]) for row in rows], dtype="int64")
    in_turn = host.argsort(host.arange(len(rows)) % 50, kind="stable")  # the file has one species after the other
    held_out = in_turn % 5 == 2
    train, test = in_turn[~held_out], in_turn[held_out]
    return (x[train], y[train]), (x[test], y[test])
