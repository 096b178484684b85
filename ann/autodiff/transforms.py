"""Functions of functions: vjp, grad and value_and_grad, jacobian, jvp, hvp, hessian, checkpoint, stop_gradient.

All rest on `vjp`, which differentiates any function of trees of arrays that is written in Array API calls.
"""

from __future__ import annotations

import builtins
import functools
from collections.abc import Callable
from typing import Any

import backends
from ann.autodiff.primitive import primitive
from ann.autodiff.tape import CONSTANT, Node, Tape, Traced, backward, is_traced, lift, raw, zeros_of
from backends import library_of, namespace, tree
from backends.library import NOTHING
from backends.wrapped import is_number

Array = Any
Tree = Any


def vjp(f: Callable[..., Tree], *args: Tree) -> tuple[Tree, Callable[..., Any]]:
    """(y, pull) with y = f(*args) and pull(dy) = dyᵀ·∂f/∂args.

    args: trees of arrays; y: a tree of arrays. pull takes a tree like y (None for a zero) and returns a tree like the
    argument, or a tuple of trees for several arguments; leaves that are no real floating arrays get None.
    It may be called any number of times, and it can be differentiated in its turn.
    """
    run = _trace(f, args, tuple(range(len(args))))

    def pull(dy: Tree) -> Any:
        traced = [x for x in tree.leaves(dy) if is_traced(x)]
        if traced and not all(map(is_traced, run.arrays)):
            # dy is being differentiated: what pull keeps must answer the same namespace, so f runs again on lifted arrays
            tape = builtins.max((x.tape for x in traced), key=lambda t: t.serial)
            return vjp(f, *tree.map(lambda x: lift(x, tape) if _is_array(x) and not is_traced(x) else x, args))[1](dy)
        gradients = run.pull(dy)
        return gradients[0] if len(args) == 1 else tuple(gradients)

    return run.value, pull


def value_and_grad(f: Callable[..., Any], argnums: int | tuple[int, ...] = 0, has_aux: bool = False) -> Callable[..., Any]:
    """The function (tree, *args) → (f, ∂f/∂tree) for a scalar f.

    argnums: the argument to differentiate, or several (then the gradient is a tuple). has_aux: f returns (value, aux), and
    the result is ((value, aux), gradient). Trees keep their structure; Python floats give Python floats.
    TypeError when an argument to differentiate holds integers, ValueError when f returns no scalar.

    >>> value_and_grad(lambda p, x: (p["w"] * x + p["b"]) ** 2)({"w": 2.0, "b": 1.0}, 3.0)
    (49.0, {'w': 42.0, 'b': 14.0})
    """
    numbers = (argnums,) if isinstance(argnums, int) else tuple(argnums)

    @functools.wraps(f, updated=())
    def evaluate(*args: Any, **kwargs: Any) -> Any:
        run = _trace(lambda *a: f(*a, **kwargs), args, _places(f, numbers, args), strict=True, has_aux=has_aux)
        y = run.value
        if not (_is_array(y) or is_number(y)) or getattr(y, "shape", ()) != ():
            got = f"shape {tuple(y.shape)}" if hasattr(y, "shape") else type(y).__name__
            raise ValueError(f"grad: {_name(f)} must return a scalar, it returned {got}; xp.sum or xp.mean makes one, ann.jacobian takes arrays")
        if _is_array(y) and not _is_floating(raw(y)):
            raise TypeError(f"grad: {_name(f)} must return a real floating number, it returned {y.dtype}")
        seed = namespace(y).ones_like(y) if _is_array(y) else None
        gradients = run.pull(seed)
        gradients = [_as_floats(args[i], g) for i, g in zip(run.numbers, gradients, strict=True)]
        gradient = gradients[0] if isinstance(argnums, int) else tuple(gradients)
        y = _float(y) if _only_floats(args) else y
        return ((y, run.aux) if has_aux else y), gradient

    return evaluate


def grad(f: Callable[..., Any], argnums: int | tuple[int, ...] = 0, has_aux: bool = False) -> Callable[..., Any]:
    """The function (tree, *args) → ∂f/∂tree for a scalar f; with has_aux (∂f/∂tree, aux). See `value_and_grad`.

    >>> grad(lambda x: x**3)(2.0), grad(grad(lambda x: x**3))(2.0)
    (12.0, 12.0)
    """

    @functools.wraps(f, updated=())
    def gradient(*args: Any, **kwargs: Any) -> Any:
        value, g = value_and_grad(f, argnums, has_aux)(*args, **kwargs)
        return (g, value[1]) if has_aux else g

    return gradient


def jacobian(f: Callable[..., Any], argnums: int = 0, has_aux: bool = False) -> Callable[..., Any]:
    """The function (tree, *args) → ∂f/∂tree: for each array y of f's result and each x of the tree, shape y.shape + x.shape.

    One pull a number of y, or one push a number of the tree where these are fewer. Results that are trees give trees of
    trees. has_aux: f returns (y, aux), and the result is (∂f/∂tree, aux).

    >>> jacobian(lambda x: np.stack([x[0] * x[1], x[1]]))(np.array([2.0, 3.0]))
    array([[3., 2.], [0., 1.]])
    """

    @functools.wraps(f, updated=())
    def matrix(*args: Any, **kwargs: Any) -> Any:
        run = _trace(lambda *a: f(*a, **kwargs), args, _places(f, (argnums,), args), strict=True, has_aux=has_aux)
        ys = tree.leaves(run.value)
        x = args[run.numbers[0]]

        def rows(place: int, y: Any) -> Any:
            pulled = [run.pull(tree.fill(run.value, [unit if k == place else None for k in range(len(ys))]))[0] for unit in _units(y)]
            if not pulled:
                return tree.map(lambda leaf: namespace(y).zeros((*y.shape, *getattr(leaf, "shape", ())), dtype=y.dtype), x)
            return _as_floats(x, tree.map(lambda *gs: _reshape(namespace(*gs).stack(list(gs)), (*y.shape, *gs[0].shape)), *pulled))

        numbers = sum(map(_size, run.arrays))
        if 0 < numbers < sum(map(_size, ys)) // 4:  # a push costs about a pull, and recording the transposed pass a few
            found = _columns(f, run, args, kwargs, has_aux)
        else:
            found = tree.fill(run.value, [rows(k, y) for k, y in enumerate(ys)])
        return (found, run.aux) if has_aux else found

    return matrix


def _columns(f: Callable[..., Any], run: _Run, args: tuple[Any, ...], kwargs: dict[str, Any], has_aux: bool) -> Tree:
    """The Jacobian by its columns: the derivative in the direction of each number of the argument."""
    number = run.numbers[0]
    value, push = _linearize((lambda *a: f(*a, **kwargs)[0]) if has_aux else (lambda *a: f(*a, **kwargs)), number, args)
    inputs = run.arrays
    pushed = []  # for each leaf x of the argument: for each y, its derivative by every number of x
    for place, x in enumerate(inputs):
        directions = [push([unit if k == place else None for k in range(len(inputs))]) for unit in _units(x)]
        pushed.append([namespace(*dys).stack(list(dys), axis=-1) for dys in zip(*directions, strict=True)])
    return tree.fill(
        value,
        [
            _as_floats(args[number], tree.fill(args[number], [_reshape(columns[k], (*y.shape, *x.shape)) for columns, x in zip(pushed, inputs, strict=True)]))
            for k, y in enumerate(tree.leaves(value))
        ],
    )


def jvp(f: Callable[..., Any], argnums: int = 0) -> Callable[..., Any]:
    """The function (tree, *args, v) → (f, ∂f/∂tree·v): the value, and the derivative in direction v, a tree like the first.

    >>> jvp(lambda x: x**3)(2.0, 10.0)
    (8.0, 120.0)
    """

    @functools.wraps(f, updated=())
    def directional(*args: Any) -> Any:
        *inputs, v = args
        value, push = _linearize(f, argnums, tuple(inputs))
        dy = tree.fill(value, push(tree.leaves(v)))
        return (tree.map(_float, value), tree.map(_float, dy)) if _only_floats(inputs) else (value, dy)

    return directional


def _linearize(f: Callable[..., Any], argnums: int, args: tuple[Any, ...]) -> tuple[Tree, Callable[[list[Any]], list[Any]]]:
    """(f(*args), push): push maps the leaves of a direction to the derivatives of the leaves of f, and may be called again.

    None in a direction stands for zeros.
    As a transposed vjp: u ↦ pull(u) is linear, and its own pullback at v, from any u, is the derivative in direction v.
    """
    tape = Tape()
    lifted = tree.map(lambda x: lift(x, tape) if _is_array(x) else x, [_floats_as_arrays(x, i == argnums % len(args), args) for i, x in enumerate(args)])
    run = _trace(f, tuple(lifted), (argnums,), strict=True)
    value = tree.map(lambda y: _strip(y, tape), run.value)
    ys = tree.leaves(value)
    us = [lift(namespace(y).ones_like(y), tape, leaf=True) for y in ys]  # rules of restricted domain keep zeros where f′ is infinite
    pulled = tree.leaves(run.pull(tree.fill(run.value, us))[0])
    inputs = tree.leaves(lifted[argnums])

    def push(v: list[Any]) -> list[Any]:
        pairs = []
        for g, dv, x in zip(pulled, v, inputs, strict=True):
            if dv is not None and isinstance(g, Traced) and g.tape is tape and g.node is not None:
                dv = dv if _is_array(dv) else namespace(x).full_like(x, float(dv))
                if tuple(dv.shape) != tuple(g.shape):
                    raise ValueError(f"jvp: the direction has shape {tuple(dv.shape)} where the argument has {tuple(g.shape)}")
                dv = _strip(dv, tape)
                pairs.append((g.node, g.slot, lift(dv, CONSTANT) if is_traced(_strip(g, tape)) and not is_traced(dv) else dv))
        tangents = backward(pairs, [u.node for u in us])
        return [zeros_of(y) if t is None else _strip(t, tape) for y, t in zip(ys, tangents, strict=True)]

    return value, push


def hvp(f: Callable[..., Any], argnums: int = 0) -> Callable[..., Any]:
    """The function (tree, *args, v) → ∂²f/∂tree²·v for a scalar f and a direction v like the tree: no Hessian is formed."""

    @functools.wraps(f, updated=())
    def product(*args: Any) -> Any:
        *inputs, v = args

        def slope(*moved: Any) -> Any:
            gradients = grad(f, argnums)(*moved)
            terms = [namespace(g, dv).sum(g * dv) for g, dv in zip(tree.leaves(gradients), tree.leaves(v), strict=True)]
            return functools.reduce(lambda a, b: a + b, terms)

        return grad(slope, argnums)(*inputs)

    return product


def hessian(f: Callable[..., Any], argnums: int = 0) -> Callable[..., Any]:
    """The function (tree, *args) → ∂²f/∂tree² for a scalar f: for leaves x, z an array of shape x.shape + z.shape."""

    def gradient(*args: Any, **kwargs: Any) -> Any:
        return grad(f, argnums)(*args, **kwargs)

    return functools.wraps(f, updated=())(jacobian(gradient, argnums))


@primitive
def _stopped(x: Array) -> Any:
    """y = x    dx = 0"""
    return x, None


def stop_gradient(values: Tree) -> Tree:
    """The same tree, as constants: y = x, dx = 0."""
    return tree.map(_stopped, values)


def checkpoint(f: Callable[..., Tree]) -> Callable[..., Tree]:
    """f, with its intermediate values dropped in the forward pass and computed again in the backward pass.

    Time of a second forward pass against memory. f must be a pure function of its arguments (trees of arrays).
    """

    @functools.wraps(f, updated=())
    def light(*args: Any) -> Any:
        results: list[Any] = []

        def flat(leaves: list[Any]) -> tuple[Any, ...]:
            results.append(f(*tree.fill(args, leaves)))
            return tuple(tree.leaves(results[-1]))

        @primitive(joint=True)
        def checkpointed(leaves: list[Any]) -> Any:
            return flat(leaves), lambda dys: (vjp(flat, leaves)[1](dys),)

        ys = checkpointed(tree.leaves(args))
        return tree.fill(results[0], list(ys))

    return light


# --------------------------------------------------------------------------------------------------------- one trace


class _Run:
    """A function run on a fresh tape: its value, stripped of the tape, and the way back."""

    def __init__(self, tape: Tape, arrays: list[Any], leaves: list[Node | None], shapes: list[Any], numbers: list[int], result: Tree):
        self.arrays, self.leaves, self.shapes, self.numbers = arrays, leaves, shapes, numbers
        self.outputs = [y if isinstance(y, Traced) and y.tape is tape and y.node is not None else None for y in tree.leaves(result)]
        self.value = tree.map(lambda y: _strip(y, tape), result)
        self.aux: Any = None

    def pull(self, dy: Tree) -> list[Any]:
        """For each differentiated argument the tree of its gradients; zeros where nothing depends on a leaf."""
        values = tree.leaves(self.value)
        dys = _cotangents(self.value, dy)
        seeds = [
            (y.node, y.slot, _checked(g, value))
            for y, g, value in zip(self.outputs, dys, values, strict=True)
            if y is not None and y.node is not None and g is not None
        ]
        gradients = [_strip(g, CONSTANT) for g in backward(seeds, self.leaves)]
        filled = iter(
            None if leaf is None else zeros_of(x) if g is None else g
            for g, leaf, x in zip(gradients, self.leaves, self.arrays, strict=True)
        )
        return [tree.fill(shape, [next(filled) for _ in tree.leaves(shape)]) for shape in self.shapes]


def _trace(f: Callable[..., Any], args: tuple[Any, ...], numbers: tuple[int, ...], strict: bool = False, has_aux: bool = False) -> _Run:
    """Run f with every array of every argument lifted on a new tape: those of `numbers` to differentiate, others constant."""
    tape = Tape()
    arrays: list[Any] = []
    leaves: list[Node | None] = []

    def enter(x: Any, differentiate: bool) -> Any:
        if not _is_array(x):
            if differentiate:
                arrays.append(x)
                leaves.append(None)
            return x
        leaf = differentiate and _is_floating(raw(x))
        lifted = lift(x, tape, leaf)
        if differentiate:
            arrays.append(x)
            leaves.append(lifted.node)
        return lifted

    lifted_args = list(args)
    ordered = [i % len(args) for i in numbers]
    for i in ordered:
        entered = _floats_as_arrays(args[i], True, args)
        if strict:
            _refuse_integers(entered, i)
        lifted_args[i] = tree.map(lambda x: enter(x, True), entered)
    for i, x in enumerate(args):
        if i not in ordered:
            lifted_args[i] = tree.map(lambda leaf: enter(leaf, False), x)
    result = f(*lifted_args)
    aux = None
    if has_aux:
        if not (isinstance(result, tuple) and len(result) == 2):
            raise ValueError(f"grad with has_aux=True: {_name(f)} must return (value, aux), it returned {type(result).__name__}")
        result, aux = result
    run = _Run(tape, arrays, leaves, [args[i] for i in ordered], ordered, result)
    run.aux = tree.map(lambda y: _strip(y, tape), aux)
    return run


def _strip(y: Any, tape: Tape) -> Any:
    """y without this tape and without the wrapper of created constants."""
    while isinstance(y, Traced) and (y.tape is tape or y.tape is CONSTANT):
        y = y.value
    return y


def _is_array(x: Any) -> bool:
    try:
        return library_of(x) is not NOTHING
    except TypeError:
        return False


def _is_floating(x: Any) -> bool:
    return bool(namespace(x).isdtype(x.dtype, "real floating"))


def _floats_as_arrays(argument: Tree, differentiate: bool, others: Tree = ()) -> Tree:
    """Python floats as 0-d arrays, in the library of the other arrays: only arrays can be differentiated."""
    if not differentiate or not any(type(x) is float for x in tree.leaves(argument)):
        return argument
    arrays = [x for x in (*tree.leaves(argument), *tree.leaves(others)) if _is_array(x)]
    if not arrays:
        be = backends.get()
        return tree.map(lambda x: be.asarray(x) if type(x) is float else x, argument)
    like = arrays[0]
    dtype = like.dtype if _is_floating(raw(like)) else namespace(like).float32
    device = library_of(raw(like)).device_of(raw(like))
    return tree.map(lambda x: namespace(like).asarray(x, dtype=dtype, device=device) if type(x) is float else x, argument)


def _as_floats(argument: Tree, gradient: Tree) -> Tree:
    """The gradient, with Python floats where the argument has them."""
    return tree.map(lambda x, g: _float(g) if type(x) is float else g, argument, gradient)


def _float(y: Any) -> Any:
    """A number without a trace as a Python float."""
    return float(y) if getattr(y, "shape", None) == () and library_of(y).rank == 0 else y


def _only_floats(args: Any) -> bool:
    leaves = tree.leaves(args)
    return any(type(x) is float for x in leaves) and not any(map(_is_array, leaves))


def _refuse_integers(argument: Tree, number: int) -> None:
    for path, x in tree.flatten(argument).items():
        place = f"argument {number}" + (f", {path}," if path else "")
        if type(x) in (int, bool):
            raise TypeError(f"grad: {place} is the integer {x}, which has no derivative; write {float(x)}")
        if _is_array(x) and not _is_floating(raw(x)):
            complex_ = namespace(x).isdtype(raw(x).dtype, "complex floating")
            advice = "real and imaginary parts can be two arguments" if complex_ else "xp.astype(x, xp.float32) makes it a float"
            raise TypeError(f"grad: {place} has dtype {x.dtype}, which has no derivative; {advice}")


def _cotangents(value: Tree, dy: Tree) -> list[Any]:
    """The leaves of dy in the order of value's; None stands for zeros wherever it is in the tree."""
    if value is None:
        return []
    if dy is None:
        return [None] * len(tree.leaves(value))
    if isinstance(value, dict):
        return [g for key in value for g in _cotangents(value[key], dy[key])]
    if isinstance(value, list | tuple):
        if not isinstance(dy, list | tuple) or len(dy) != len(value):
            raise ValueError(f"pull: y is a {type(value).__name__} of {len(value)}, dy must be one too")
        return [g for a, b in zip(value, dy, strict=True) for g in _cotangents(a, b)]
    return [dy]


def _checked(dy: Any, y: Any) -> Any:
    if type(dy) in (int, float) and tuple(y.shape) == ():
        return namespace(y).full_like(y, dy)
    if not hasattr(dy, "shape") or tuple(dy.shape) != tuple(y.shape):
        raise ValueError(f"pull: dy must have the shape of y, {tuple(y.shape)}; it is {tuple(dy.shape) if hasattr(dy, 'shape') else dy!r}")
    return lift(dy, CONSTANT) if is_traced(y) and not is_traced(dy) else dy


def _places(f: Callable[..., Any], numbers: tuple[int, ...], args: tuple[Any, ...]) -> tuple[int, ...]:
    for number in numbers:
        if not -len(args) <= number < len(args):
            raise TypeError(f"grad: argnums is {number}, {_name(f)} was called with {len(args)} positional arguments")
    if len({number % len(args) for number in numbers}) < len(numbers):
        raise ValueError(f"grad: argnums {numbers} names an argument twice")
    return numbers


def _size(y: Any) -> int:
    return functools.reduce(lambda a, b: a * b, y.shape, 1)


def _units(y: Any) -> list[Any]:
    """Every array like y that is 1 in one place and else 0."""
    n = _size(y)
    eye = namespace(y).eye(n, dtype=y.dtype, device=library_of(raw(y)).device_of(raw(y)))
    return [_reshape(eye[i, ...], tuple(y.shape)) for i in range(n)]


def _reshape(x: Any, shape: tuple[int, ...]) -> Any:
    return namespace(x).reshape(x, shape)


def _name(f: Any) -> str:
    return str(getattr(f, "__name__", f))
