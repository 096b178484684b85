"""Neural networks in Array API code: the same formulas on NumPy, CuPy, PyTorch and JAX arrays, chosen at run time."""

from ann import _shadow  # isort: skip  (first: it explains a foreign module `backends`)
from ann import callbacks, constraints, datasets, functions, initializers, losses, metrics, optimizers, plot, regularizers, schedules
from ann.autodiff import (
    check_gradients,
    checkpoint,
    grad,
    hessian,
    hvp,
    jacobian,
    jvp,
    primitive,
    stop_gradient,
    value_and_grad,
    vjp,
)
from ann.callbacks import History
from ann.constraints import MaxNorm, MinMaxNorm, NonNeg, UnitNorm
from ann.files import FileError
from ann.functions import *  # noqa: F403
from ann.layers import *  # noqa: F403
from ann.losses import (
    BinaryCrossentropy,
    CategoricalCrossentropy,
    CosineSimilarity,
    Huber,
    KLDivergence,
    MeanAbsoluteError,
    MeanSquaredError,
    SparseCategoricalCrossentropy,
)
from ann.model import Model, load
from ann.optimization import LBFGS, Fit, least_squares, minimize
from ann.optimizers import SGD, Adadelta, Adagrad, Adam, Adamax, AdamW, Lion, Nadam, RAdam, RMSprop
from ann.regularizers import L1, L1L2, L2
from ann.training.progress import Scores
from backends import jit, namespace, tree
from backends.stream import Stream

__version__ = "0.1.0"


def __getattr__(name: str) -> object:
    if name == "estimators":  # only when asked for: it imports scikit-learn
        from importlib import import_module

        return import_module("ann.estimators")
    raise AttributeError(f"module 'ann' has no attribute {name!r}")
