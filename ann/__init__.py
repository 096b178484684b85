"""Neural networks in Array API code: the same formulas on NumPy, CuPy, PyTorch and JAX arrays, chosen at run time."""

from typing import TYPE_CHECKING

from ann import _shadow  # isort: skip  (first: it explains a foreign module `backends`)
from backends import namespace, tree
from backends.lazy import lazily
from backends.stream import Stream

__version__ = "0.1.0"

if TYPE_CHECKING:  # the everyday names, for readers and type checkers; below, each is imported when it is first asked for
    from ann import callbacks, constraints, datasets, estimators, initializers, losses, metrics, optimizers, plot, regularizers, schedules
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
    from backends import jit
else:
    __getattr__, __dir__ = lazily(
        __name__,
        {
            "ann.autodiff": "check_gradients checkpoint grad hessian hvp jacobian jvp primitive stop_gradient value_and_grad vjp",
            "ann.callbacks": "History",
            "ann.constraints": "MaxNorm MinMaxNorm NonNeg UnitNorm",
            "ann.files": "FileError",
            "ann.losses": "BinaryCrossentropy CategoricalCrossentropy CosineSimilarity Huber KLDivergence MeanAbsoluteError MeanSquaredError "
            "SparseCategoricalCrossentropy",
            "ann.model": "Model load",
            "ann.optimization": "LBFGS Fit least_squares minimize",
            "ann.optimizers": "SGD Adadelta Adagrad Adam Adamax AdamW Lion Nadam RAdam RMSprop",
            "ann.regularizers": "L1 L1L2 L2",
            "ann.training.progress": "Scores",
            "backends": "jit",
        },
        stars=("ann.functions", "ann.layers"),
        modules="callbacks constraints datasets estimators initializers losses metrics optimizers plot regularizers schedules",
    )
