"""Pictures. Each function returns a matplotlib figure; figure.savefig(path) writes it. No display is needed.

Where `ax` is taken, the picture is drawn into those matplotlib axes instead of a figure of its own; `title` replaces the
title. matplotlib is the extra `plot`: pip install 'ann-array-api[plot]'.
"""

from ann.plot.arrays import features, images, weights
from ann.plot.classes import confusion_matrix, decision_boundary
from ann.plot.curves import activation, curve, history, loss_surface
from ann.plot.network import backprop, model

__all__ = [
    "activation",
    "backprop",
    "confusion_matrix",
    "curve",
    "decision_boundary",
    "features",
    "history",
    "images",
    "loss_surface",
    "model",
    "weights",
]
