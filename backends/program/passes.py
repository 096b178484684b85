"""Passes: small functions Program → Program that keep the meaning. `simplify` applies all of them.

    settle      one name for one thing: means are sums, squares products, x.T a permutation; what does nothing goes
    fold        what depends on no input is computed now
    assemble    zeros with values set at places, added up, are pieces side by side: what the pullbacks of slices leave
    share       the same call on the same values is made once
    apart       results that have become one are told apart again
    unlooped    what a scan does step by step without need is done for all steps at once (unloop.py)
    expand      gap functions become the calls of their portable bodies (not a part of `simplify`: a lowering asks for it)
    Program.with_body drops what nothing reads
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from backends.library import GAPS
from backends.program.abstract import Spec, abstract_library
from backends.program.calls import Input
from backends.program.program import SYMBOLS, Instruction, Program, Ref, call, extract, size
from backends.program.promotion import FLOATING, INTEGER, LIMITS, dtype_name
from backends.program.shapes import normal_axes

SMALL = 1024  # entries of a constant that is kept in the program


def simplify(program: Program) -> Program:
    """The program after all passes."""
    from backends.program.unloop import unlooped  # it is written with the Writer of this page

    after = program
    for step in (inlined, unlooped, settle, fold, share, assemble):
        after = step(after)
    return apart(after, program.outputs)


def apart(program: Program, outputs: tuple[Any, ...]) -> Program:
    """Results that were values of their own in `outputs` and have become an input, or one: given out as views, which lowerings copy.

    x·1 is x, and x + 1 is made once; but who writes to one result must not write to an argument or to another result.
    """
    values, body, results = list(program.values), list(program.body), list(program.outputs)
    first: dict[Ref, Any] = {r: r for r in program.inputs}
    for k, (now, was) in enumerate(zip(program.outputs, outputs, strict=True)):
        if type(now) is Ref and first.setdefault(now, was) != was:
            values.append(values[now])
            results[k] = Ref(len(values) - 1)
            body.append(Instruction("reshape", (now,), {"shape": values[now].shape}, (results[k],)))
    return replace(program, values=tuple(values), body=tuple(body), outputs=tuple(results))


def inlined(program: Program) -> Program:
    """The steps of scans, simplified."""
    if all(i.program is None for i in program.body):
        return program
    return program.with_body([replace(i, program=simplify(i.program)) if i.program is not None else i for i in program.body])


def expand(program: Program, known: Callable[[str], bool]) -> Program:
    """Gap functions that a lowering has no kernel for, as the calls of their portable bodies."""
    names = {i.name for i in program.body}
    bodies = {name: GAPS[name].portable for name in names if hasattr(GAPS.get(name), "portable") and not known(name)}  # type: ignore[attr-defined]
    if not bodies:
        return program
    w = Writer(program)
    for i in program.body:
        i = w.entered(i)
        portable = bodies.get(i.name)
        if portable is None:
            w.keep(i)
            continue
        inner, entered = _traced(portable, i, w)
        numbers: dict[int, Ref] = dict(zip(inner.inputs, entered, strict=True))

        def renumbered(x: Any, numbers: dict[int, Ref] = numbers) -> Any:
            return numbers[x] if type(x) is Ref else [renumbered(part, numbers) for part in x] if type(x) is list else x

        for step in inner.body:
            for out in step.outs:
                w.values.append(inner.values[out])
                numbers[out] = Ref(len(w.values) - 1)
            w.keep(replace(step, args=tuple(map(renumbered, step.args)), outs=tuple(numbers[out] for out in step.outs), region=i.region))
        w.renamed.update(zip(i.outs, map(renumbered, inner.outputs), strict=True))
    return w.done()


def _traced(f: Callable[..., Any], i: Instruction, w: Writer) -> tuple[Program, list[Ref]]:
    """The program of f for the arguments of an instruction, and the values that are its inputs."""
    cls = abstract_library(w.program.library).array  # type: ignore[attr-defined]
    entered: list[Ref] = []
    origins: list[Input] = []

    def lift(x: Any) -> Any:
        if type(x) is list:
            return [lift(part) for part in x]
        if type(x) is not Ref:
            return x
        spec = w.values[x]
        entered.append(x)
        origins.append(Input(repr(x), spec.shape, spec.dtype))
        return cls(spec.shape, spec.dtype, w.program.device, origins[-1])

    y = f(*map(lift, i.args), **i.static)
    inner, _ = extract(y if isinstance(y, list | tuple) else [y], origins, w.program.library, w.program.device)
    return inner, entered


class Writer:
    """A new body under construction: refs of the old program are renamed, new values get new numbers."""

    def __init__(self, program: Program):
        self.program = program
        self.values = list(program.values)
        self.body: list[Instruction] = []
        self.renamed: dict[int, Any] = {}
        self.maker: dict[int, Instruction] = {}  # of each value of the new body

    def now(self, x: Any) -> Any:
        if type(x) is list:
            return [self.now(part) for part in x]
        while type(x) is Ref and x in self.renamed:
            x = self.renamed[x]
        return x

    def entered(self, i: Instruction) -> Instruction:
        """An instruction of the old program, with what its arguments are now."""
        if self.renamed.keys().isdisjoint(i.reads):
            return i
        return Instruction(i.name, tuple(map(self.now, i.args)), i.static, i.outs, i.region, i.program)

    def value(self, spec: Spec) -> Ref:
        """A new value, that something is to make."""
        self.values.append(spec)
        return Ref(len(self.values) - 1)

    def add(self, like: Instruction, name: str, args: tuple[Any, ...], static: dict[str, Any], spec: Spec) -> Ref:
        out = self.value(spec)
        self.keep(Instruction(name, args, static, (out,), like.region))
        return out

    def keep(self, i: Instruction) -> None:
        self.body.append(i)
        for out in i.outs:
            self.maker[out] = i

    def done(self) -> Program:
        program = replace(self.program, values=tuple(self.values))
        return program.with_body(self.body, [self.now(x) for x in self.program.outputs])


# ------------------------------------------------------------------------------------------------------------- settle


def settle(program: Program) -> Program:
    """One name for one thing, so that lowerings know few names.

    zeros, ones, full_like, … → full;  mean → sum·(1/n);  square, x**2 → x·x;  unstack, stack → get_item, concat;
    matrix_transpose, moveaxis, flip → permute_dims, get_item;  expand_dims, squeeze → reshape;  negative axes → from 0;
    broadcast_arrays, repeat, roll, diff, var, std, vecdot, tensordot, count_nonzero → what they are made of.
    """
    w = Writer(program)
    for i in program.body:
        i = w.entered(i)
        rule = _SETTLE.get(i.name)
        y = rule(w, i) if rule else None
        if y is None:
            w.keep(i)
        else:
            w.renamed.update(zip(i.outs, y if isinstance(y, list) else [y], strict=True))
    return w.done()


_SETTLE: dict[str, Callable[[Writer, Instruction], Any]] = {}


def _settles(*names: str) -> Callable[[Any], Any]:
    def enter(rule: Callable[[Writer, Instruction], Any]) -> Any:
        _SETTLE.update(dict.fromkeys(names, rule))
        return rule

    return enter


def _out(w: Writer, i: Instruction) -> Spec:
    return w.values[i.outs[0]]


def _full(w: Writer, i: Instruction, number: Any) -> Ref:
    spec = _out(w, i)
    return w.add(i, "full", (number,), {"shape": spec.shape, "dtype": _dtype(w, spec.dtype), "device": w.program.device}, spec)


def _dtype(w: Writer, name: str) -> Any:
    return w.program.library.dtype(name)


@_settles("zeros", "zeros_like", "empty", "empty_like")
def _zeros(w: Writer, i: Instruction) -> Any:
    return _full(w, i, 0)


@_settles("ones", "ones_like")
def _ones(w: Writer, i: Instruction) -> Any:
    return _full(w, i, 1)


@_settles("full", "full_like")
def _filled(w: Writer, i: Instruction) -> Any:
    number = i.args[-1]
    if type(number) is Ref:
        number = _cast(w, i, number, _out(w, i).dtype)
        return w.add(i, "broadcast_to", (number,), {"shape": _out(w, i).shape}, _out(w, i))
    return _full(w, i, number)


def _cast(w: Writer, i: Instruction, x: Ref, dtype: str) -> Ref:
    spec = w.values[x]
    return x if spec.dtype == dtype else w.add(i, "astype", (x,), {"dtype": _dtype(w, dtype)}, Spec(spec.shape, dtype))


@_settles("asarray", "astype", "positive", "to_device")
def _same(w: Writer, i: Instruction) -> Any:
    x, out = i.args[0], _out(w, i)
    if type(x) in (bool, int, float, complex):
        return _full(w, i, x)
    if type(x) is not Ref or i.name == "to_device" or w.values[x].shape != out.shape:
        return None
    return _cast(w, i, x, out.dtype)


@_settles("mean")
def _mean(w: Writer, i: Instruction) -> Any:
    x, out = i.args[0], _out(w, i)
    n = size(w.values[x]) // max(size(out), 1)
    if n == 0:
        return None
    total = w.add(i, "sum", i.args, {**_axes(w, i), "keepdims": i.static.get("keepdims", False)}, out)
    return w.add(i, "multiply", (total, 1.0 / n), {}, out)


def _axes(w: Writer, i: Instruction) -> dict[str, Any]:
    return {"axis": normal_axes(i.static.get("axis"), len(w.values[i.args[0]].shape))}


@_settles("sum", "max", "min", "prod", "any", "all")
def _reduction(w: Writer, i: Instruction) -> Any:
    x, out = i.args[0], _out(w, i)
    axes = _axes(w, i)
    if all(w.values[x].shape[a] == 1 for a in axes["axis"]) and i.name in ("sum", "max", "min", "prod"):
        return _reshaped(w, i, _cast(w, i, x, out.dtype), out.shape)
    keep = {"dtype": i.static["dtype"]} if i.static.get("dtype") is not None else {}
    return w.add(i, i.name, (x,), {**axes, "keepdims": i.static.get("keepdims", False), **keep}, out)


@_settles("square")
def _square(w: Writer, i: Instruction) -> Any:
    return w.add(i, "multiply", (i.args[0], i.args[0]), {}, _out(w, i))


@_settles("pow")
def _power(w: Writer, i: Instruction) -> Any:
    x, k = i.args
    if k in (2, 3) and type(k) in (int, float) and type(x) is Ref:
        square = w.add(i, "multiply", (x, x), {}, _out(w, i))
        return square if k == 2 else w.add(i, "multiply", (square, x), {}, _out(w, i))
    return None


@_settles("less", "less_equal", "greater", "greater_equal", "equal", "not_equal")
def _beyond(w: Writer, i: Instruction) -> Any:
    """A comparison of integers with a number that their dtype cannot hold is decided."""
    dtype = next((w.values[x].dtype for x in i.args if type(x) is Ref), "")
    if dtype in INTEGER and any(type(x) is int and not LIMITS[dtype][0] <= x <= LIMITS[dtype][1] for x in i.args):
        return _full(w, i, SYMBOLS[i.name](*(0 if type(x) is Ref else x for x in i.args)))
    return None


@_settles("multiply", "divide")
def _product(w: Writer, i: Instruction) -> Any:
    a, b = i.args
    for x, one in ((a, b), (b, a)) if i.name == "multiply" else ((a, b),):
        if type(x) is Ref and type(one) in (int, float) and one == 1 and w.values[x] == _out(w, i):
            return x
    return None


def _reshaped(w: Writer, i: Instruction, x: Ref, shape: tuple[int, ...]) -> Ref:
    return x if w.values[x].shape == shape else w.add(i, "reshape", (x,), {"shape": shape}, Spec(shape, w.values[x].dtype))


@_settles("reshape", "expand_dims", "squeeze")
def _shaped(w: Writer, i: Instruction) -> Any:
    return _reshaped(w, i, i.args[0], _out(w, i).shape)


def _permuted(w: Writer, i: Instruction, axes: tuple[int, ...]) -> Any:
    if axes == tuple(range(len(axes))):
        return i.args[0]
    return w.add(i, "permute_dims", i.args[:1], {"axes": axes}, _out(w, i))


@_settles("permute_dims")
def _permute(w: Writer, i: Instruction) -> Any:
    n = len(_out(w, i).shape)
    return _permuted(w, i, tuple(a % n for a in i.static["axes"]))


@_settles("matrix_transpose", "linalg.matrix_transpose")
def _transpose(w: Writer, i: Instruction) -> Any:
    n = len(_out(w, i).shape)
    return _permuted(w, i, (*range(n - 2), n - 1, n - 2))


@_settles("moveaxis")
def _move(w: Writer, i: Instruction) -> Any:
    n = len(_out(w, i).shape)
    old, new = normal_axes(i.static["source"], n), normal_axes(i.static["destination"], n)
    order = [a for a in range(n) if a not in old]
    for place, a in sorted(zip(new, old, strict=True)):
        order.insert(place, a)
    return _permuted(w, i, tuple(order))


@_settles("flip")
def _flip(w: Writer, i: Instruction) -> Any:
    n = len(_out(w, i).shape)
    axes = normal_axes(i.static.get("axis"), n)
    key = tuple(slice(None, None, -1) if a in axes else slice(None) for a in range(n))
    return None if w.program.library.name == "torch" else w.add(i, "get_item", (i.args[0], []), {"key": key}, _out(w, i))


@_settles("broadcast_to")
def _broadcast(w: Writer, i: Instruction) -> Any:
    return i.args[0] if w.values[i.args[0]] == _out(w, i) else None


@_settles("matmul", "linalg.matmul")
def _product_of_matrices(w: Writer, i: Instruction) -> Any:
    """Rows that are repeated are multiplied once: what the mean over tokens or places hands back."""
    a, b = i.args
    spread, out = w.maker.get(a), _out(w, i)
    if spread is not None and spread.name == "broadcast_to":
        x = spread.args[0]
        rows, repeated = w.values[x].shape, w.values[a].shape
        if len(w.values[b].shape) == 2 <= len(rows) == len(repeated) and rows[-1] == repeated[-1] and 0 not in repeated:
            once = w.add(i, "matmul", (x, b), i.static, Spec((*rows[:-1], out.shape[-1]), out.dtype))
            return w.add(i, "broadcast_to", (once,), {"shape": out.shape}, out)
    return w.add(i, "matmul", i.args, i.static, out) if i.name != "matmul" else None


@_settles("broadcast_arrays")
def _broadcasts(w: Writer, i: Instruction) -> Any:
    return [_spread(w, i, x, w.values[out].shape) for x, out in zip(i.args, i.outs, strict=True)]


def _spread(w: Writer, i: Instruction, x: Ref, shape: tuple[int, ...]) -> Ref:
    return x if w.values[x].shape == shape else w.add(i, "broadcast_to", (x,), {"shape": shape}, Spec(shape, w.values[x].dtype))


@_settles("repeat")
def _repeated(w: Writer, i: Instruction) -> Any:
    x, times = i.args
    old = w.values[x].shape
    axis = i.static.get("axis")
    if axis is None:
        x, old, axis = _reshaped(w, i, x, (size(w.values[x]),)), (size(w.values[x]),), 0
    (axis,) = normal_axes(axis, len(old))
    split, spread = (*old[: axis + 1], 1, *old[axis + 1 :]), (*old[: axis + 1], times, *old[axis + 1 :])
    return _reshaped(w, i, _spread(w, i, _reshaped(w, i, x, split), spread), _out(w, i).shape)


@_settles("roll")
def _rolled(w: Writer, i: Instruction) -> Any:
    x, shape = i.args[0], _out(w, i).shape
    shift, axis = i.static["shift"], i.static.get("axis")
    if axis is None:
        flat = _reshaped(w, i, x, (size(_out(w, i)),))
        return _reshaped(w, i, _roll_one(w, i, flat, shift, 0), shape)
    axes = axis if isinstance(axis, tuple | list) else (axis,)
    shifts = shift if isinstance(shift, tuple | list) else (shift,) * len(axes)
    for by, a in zip(shifts, axes, strict=True):
        x = _roll_one(w, i, x, by, a % len(shape))
    return x


def _roll_one(w: Writer, i: Instruction, x: Ref, by: int, axis: int) -> Ref:
    spec = w.values[x]
    n = spec.shape[axis]
    if not n or not by % n:
        return x
    parts = [_slice(w, i, x, axis, n - by % n, n), _slice(w, i, x, axis, 0, n - by % n)]
    return w.add(i, "concat", (parts,), {"axis": axis}, spec)


def _slice(w: Writer, i: Instruction, x: Ref, axis: int, start: int, stop: int) -> Ref:
    spec = w.values[x]
    shape = (*spec.shape[:axis], stop - start, *spec.shape[axis + 1 :])
    return w.add(i, "get_item", (x, []), {"key": (*(slice(None),) * axis, slice(start, stop), ...)}, Spec(shape, spec.dtype))


@_settles("diff")
def _difference(w: Writer, i: Instruction) -> Any:
    out = _out(w, i)
    (axis,) = normal_axes(i.static.get("axis", -1), len(out.shape))
    if i.static.get("n", 1) != 1 or len(i.args) > 1 or out.dtype == "bool" or not out.shape[axis]:
        return None
    x, n = i.args[0], out.shape[axis]
    return w.add(i, "subtract", (_slice(w, i, x, axis, 1, n + 1), _slice(w, i, x, axis, 0, n)), {}, out)


@_settles("var", "std")
def _variance(w: Writer, i: Instruction) -> Any:
    x, out = i.args[0], _out(w, i)
    spec, axes = w.values[x], _axes(w, i)
    n = size(spec) // max(size(out), 1)
    correction = float(i.static.get("correction", 0.0))
    if n == 0 or n <= correction:
        return None
    kept = Spec(tuple(1 if a in axes["axis"] else m for a, m in enumerate(spec.shape)), spec.dtype)
    mean = w.add(i, "multiply", (w.add(i, "sum", (x,), {**axes, "keepdims": True}, kept), 1.0 / n), {}, kept)
    d = w.add(i, "subtract", (x, mean), {}, spec)
    total = w.add(i, "sum", (w.add(i, "multiply", (d, d), {}, spec),), {**axes, "keepdims": i.static.get("keepdims", False)}, out)
    y = w.add(i, "multiply", (total, 1.0 / (n - correction)), {}, out)
    return y if i.name == "var" else w.add(i, "sqrt", (y,), {}, out)


@_settles("vecdot", "linalg.vecdot")
def _dots(w: Writer, i: Instruction) -> Any:
    a, b = i.args
    out = _out(w, i)
    if out.dtype not in ("float32", "float64") or w.values[a] != w.values[b]:
        return None
    product = w.add(i, "multiply", (a, b), {}, w.values[a])
    return w.add(i, "sum", (product,), {"axis": normal_axes(i.static.get("axis", -1), len(w.values[a].shape)), "keepdims": False}, out)


@_settles("tensordot", "linalg.tensordot")
def _contracted(w: Writer, i: Instruction) -> Any:
    """Σ over paired axes as one product of matrices."""
    a, b = i.args
    s, t = w.values[a].shape, w.values[b].shape
    axes = i.static.get("axes", 2)
    if isinstance(axes, int):
        axes = (tuple(range(len(s) - axes, len(s))), tuple(range(axes)))
    left, right = (tuple(k % len(shape) for k in part) for part, shape in zip(axes, (s, t), strict=True))
    free_a = tuple(k for k in range(len(s)) if k not in left)
    free_b = tuple(k for k in range(len(t)) if k not in right)
    inner = math.prod(s[k] for k in left)
    rows, columns = math.prod(s[k] for k in free_a), math.prod(t[k] for k in free_b)
    if not inner or w.values[a].dtype != w.values[b].dtype:
        return None

    def matrix(x: Ref, order: tuple[int, ...], shape: tuple[int, int]) -> Ref:
        spec = w.values[x]
        moved = x if order == tuple(range(len(order))) else w.add(i, "permute_dims", (x,), {"axes": order}, Spec(tuple(spec.shape[k] for k in order), spec.dtype))
        return _reshaped(w, i, moved, shape)

    out = _out(w, i)
    y = w.add(i, "matmul", (matrix(a, (*free_a, *left), (rows, inner)), matrix(b, (*right, *free_b), (inner, columns))), {}, Spec((rows, columns), out.dtype))
    return _reshaped(w, i, y, out.shape)


@_settles("count_nonzero")
def _counted(w: Writer, i: Instruction) -> Any:
    x, out = i.args[0], _out(w, i)
    spec = w.values[x]
    there = x if spec.dtype == "bool" else w.add(i, "not_equal", (x, 0), {}, Spec(spec.shape, "bool"))
    ones = w.add(i, "astype", (there,), {"dtype": _dtype(w, out.dtype)}, Spec(spec.shape, out.dtype))
    return w.add(i, "sum", (ones,), {**_axes(w, i), "keepdims": i.static.get("keepdims", False)}, out)


@_settles("unstack")
def _unstacked(w: Writer, i: Instruction) -> Any:
    x = i.args[0]
    (axis,) = normal_axes(i.static.get("axis", 0), len(w.values[x].shape))
    return [w.add(i, "get_item", (x, []), {"key": (*(slice(None),) * axis, k, ...)}, w.values[out]) for k, out in enumerate(i.outs)]


@_settles("stack")
def _stacked(w: Writer, i: Instruction) -> Any:
    out = _out(w, i)
    (axis,) = normal_axes(i.static.get("axis", 0), len(out.shape))
    shape = (*out.shape[:axis], 1, *out.shape[axis + 1 :])
    parts = [_reshaped(w, i, x, shape) for x in i.args[0]]
    return w.add(i, "concat", (parts,), {"axis": axis}, out)


@_settles("concat")
def _joined(w: Writer, i: Instruction) -> Any:
    out = _out(w, i)
    if i.static.get("axis", 0) is None:
        parts = [_reshaped(w, i, x, (size(w.values[x]),)) for x in i.args[0]]
        return w.add(i, "concat", (parts,), {"axis": 0}, out)
    (axis,) = normal_axes(i.static.get("axis", 0), len(out.shape))
    parts = [x for x in i.args[0] if w.values[x].shape[axis]]
    return parts[0] if len(parts) == 1 and w.values[parts[0]] == out else w.add(i, "concat", (i.args[0],), {"axis": axis}, out)


# --------------------------------------------------------------------------------------------------------------- fold


def fold(program: Program) -> Program:
    """What depends on no input is computed now: uniform arrays stay a number and a shape, small ones become a constant.

    Elementwise functions of uniform arrays are uniform; so are their views; where(uniform condition, a, b) is a branch, and x & True is x.
    """
    w = Writer(program)
    uniform: dict[int, Any] = {}  # ref → number
    constant: dict[int, Any] = {}  # ref → array
    library = program.library

    def number(out: Spec, i: Instruction, args: list[Any]) -> Any:
        y = call(library, replace(i, static=_scalar_static(i.static)), args)
        return library.fetch(y).item()

    for i in program.body:
        i = w.entered(i)
        out = w.values[i.outs[0]]
        reads = i.reads
        if i.name == "full" and type(i.args[0]) in (bool, int, float):
            uniform[i.outs[0]] = i.args[0]
            w.keep(i)
            continue
        if i.name == "where" and i.args[0] in uniform:
            x = i.args[1] if uniform[i.args[0]] else i.args[2]
            if type(x) is Ref and w.values[x] == out:
                w.renamed[i.outs[0]] = x
                continue
        if i.name in NEUTRAL and out.dtype == "bool":
            kept = [x for x, other in (i.args, i.args[::-1]) if type(x) is Ref and w.values[x] == out and uniform.get(other) == NEUTRAL[i.name]]
            if kept:
                w.renamed[i.outs[0]] = kept[0]
                continue
        known = bool(reads) and all(r in uniform for r in reads)
        if known and len(i.outs) == 1 and i.name in ELEMENTWISE and out.dtype in (*FLOATING, *INTEGER, "bool") and "complex" not in out.dtype:
            args = [library.scalar(uniform[x], w.values[x].dtype, program.device) if type(x) is Ref else x for x in i.args]
            y = _full(w, i, number(out, i, args))
            uniform[y] = w.body[-1].args[0]
            w.renamed[i.outs[0]] = y
            continue
        if known and i.name in ("reshape", "permute_dims", "broadcast_to", "windows") or (known and i.name == "get_item" and not i.args[1]):
            y = _full(w, i, uniform[reads[0]])
            uniform[y] = uniform[reads[0]]
            w.renamed[i.outs[0]] = y
            continue
        if i.name == "sum" and known and out.dtype in FLOATING:
            y = _full(w, i, uniform[reads[0]] * (size(w.values[reads[0]]) / max(size(out), 1)))
            uniform[y] = w.body[-1].args[0]
            w.renamed[i.outs[0]] = y
            continue
        fixed = all(r in constant for r in reads) and (bool(reads) or i.name in _MAKERS)
        if fixed and len(i.outs) == 1 and i.name != "random_bits" and size(out) <= SMALL and i.program is None:
            y = call(library, i, [_array(constant, x) for x in i.args])
            spec = w.values[i.outs[0]]
            ref = w.add(i, "constant", (), {"value": y}, spec)
            constant[ref] = y
            w.renamed[i.outs[0]] = ref
            continue
        w.keep(i)
    return w.done()


NEUTRAL = {"bitwise_and": True, "logical_and": True, "bitwise_or": False, "logical_or": False}  # what does nothing
_MAKERS = ("arange", "linspace", "eye", "constant", "asarray")


def _array(constant: dict[int, Any], x: Any) -> Any:
    return constant[x] if type(x) is Ref else [_array(constant, part) for part in x] if type(x) is list else x


def _scalar_static(static: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in static.items() if key != "shape"}


# -------------------------------------------------------------------------------------------------------------- share

COMMUTATIVE = ("add", "multiply", "maximum", "minimum", "equal", "not_equal", "bitwise_and", "bitwise_or", "bitwise_xor", "logical_and", "logical_or")


def share(program: Program) -> Program:
    """The same call on the same values is made once. Random bits are a function of their address, so they may be shared too."""
    w = Writer(program)
    made: dict[Any, tuple[Ref, ...]] = {}
    for i in program.body:
        i = w.entered(i)
        if i.program is not None or i.name == "constant":
            w.keep(i)
            continue
        args = (frozenset if i.name in COMMUTATIVE else tuple)([x if type(x) is Ref else _frozen(x) for x in i.args])
        key = (i.name, args, _frozen(i.static), tuple(w.values[out] for out in i.outs))
        same = made.setdefault(key, i.outs)
        if same is i.outs:
            w.keep(i)
        else:
            w.renamed.update(zip(i.outs, same, strict=True))
    return w.done()


def _frozen(x: Any) -> Any:
    """x as something hashable that tells 1 from 1.0 and −0.0 from 0.0."""
    kind = type(x)
    if kind is Ref or isinstance(x, int):
        return kind, x
    if kind is dict:
        return tuple([(key, _frozen(value)) for key, value in sorted(x.items())])
    if kind is float:
        return kind, x, math.copysign(1.0, x)
    if isinstance(x, list | tuple):
        return tuple(map(_frozen, x))
    return ("slice", x.start, x.stop, x.step) if kind is slice else _named(x)


def _named(x: Any) -> Any:
    try:
        return ("dtype", dtype_name(x)) if not isinstance(x, str) and x is not None else x
    except TypeError:
        return x if _hashable(x) else id(x)


def _hashable(x: Any) -> bool:
    try:
        hash(x)
    except TypeError:
        return False
    return True


# ----------------------------------------------------------------------------------------------------------- assemble


def assemble(program: Program) -> Program:
    """Σ of zeros with xᵢ at places that do not overlap along one axis → concat of the xᵢ, zeros in the gaps.

    q, k, v = x[:, 0], x[:, 1], x[:, 2] give dx = (0 with dq at 0) + (0 with dk at 1) + (0 with dv at 2).
    """
    if all(i.name != "set_item" for i in program.body):
        return program
    w = Writer(program)
    zero = {i.outs[0] for i in program.body if i.name == "full" and i.args[0] == 0}
    pieces: dict[int, tuple[int, list[tuple[int, int, Ref]]]] = {}  # ref → (axis, [(start, stop, x)])
    for i in program.body:
        out = i.outs[0]
        w.keep(i)
        if i.name == "set_item" and i.args[0] in zero and type(i.args[1]) is Ref and not i.args[2]:
            found = _one_axis(i.static["key"], w.values[out].shape)
            if found is not None and w.values[i.args[1]].dtype == w.values[out].dtype:
                axis, start, stop = found
                shape = (*w.values[out].shape[:axis], stop - start, *w.values[out].shape[axis + 1 :])
                if size(w.values[i.args[1]]) == math.prod(shape):
                    pieces[out] = axis, [(start, stop, i.args[1])]
        elif i.name == "add" and all(type(x) is Ref and x in pieces for x in i.args):
            (axis, a), (other, b) = (pieces[x] for x in i.args)
            joined = sorted(a + b, key=lambda piece: piece[0])
            if axis == other and all(p[1] <= q[0] for p, q in zip(joined, joined[1:], strict=False)):
                pieces[out] = axis, joined
                w.renamed[out] = _side_by_side(w, i, axis, joined)
    w.body = [w.entered(i) for i in w.body]
    return w.done()


def _one_axis(key: Any, shape: tuple[int, ...]) -> tuple[int, int, int] | None:
    """(axis, start, stop) of a basic key that takes the whole of every other axis; None of other keys."""
    parts = list(key) if isinstance(key, tuple) else [key]
    if any(part is None for part in parts):
        return None
    if Ellipsis in [part for part in parts if part is Ellipsis]:
        place = next(n for n, part in enumerate(parts) if part is Ellipsis)
        parts[place : place + 1] = [slice(None)] * (len(shape) - len(parts) + 1)
    found = None
    for axis, part in enumerate(parts):
        n = shape[axis]
        if isinstance(part, slice):
            start, stop, step = part.indices(n)
            if (start, stop, step) == (0, n, 1):
                continue
            if step != 1 or stop <= start:
                return None
        elif type(part) is int:
            start, stop = part % n, part % n + 1
        else:
            return None
        if found is not None:
            return None
        found = axis, start, stop
    return found


def _side_by_side(w: Writer, i: Instruction, axis: int, pieces: list[tuple[int, int, Ref]]) -> Ref:
    out = _out(w, i)
    parts, end = [], 0

    def shape(n: int) -> tuple[int, ...]:
        return (*out.shape[:axis], n, *out.shape[axis + 1 :])

    def gap(n: int) -> None:
        if n:
            static = {"shape": shape(n), "dtype": _dtype(w, out.dtype), "device": w.program.device}
            parts.append(w.add(i, "full", (0,), static, Spec(shape(n), out.dtype)))

    for start, stop, x in pieces:
        gap(start - end)
        parts.append(_reshaped(w, i, x, shape(stop - start)))
        end = stop
    gap(out.shape[axis] - end)
    return w.add(i, "concat", (parts,), {"axis": axis}, out)


# --------------------------------------------------------------------------------------------------- what others ask for

ELEMENTWISE = frozenset(
    """acos acosh add asin asinh atan atan2 atanh bitwise_and bitwise_invert bitwise_left_shift bitwise_or bitwise_right_shift
    bitwise_xor ceil clip copysign cos cosh divide equal exp expm1 floor floor_divide greater greater_equal hypot isfinite isinf isnan less
    less_equal log log10 log1p log2 logaddexp logical_and logical_not logical_or logical_xor maximum minimum multiply negative
    nextafter not_equal pow reciprocal remainder round sign signbit sin sinh sqrt subtract tan tanh trunc where abs astype erf erfc
    lgamma digamma trigamma""".split()
)


__all__ = ["COMMUTATIVE", "ELEMENTWISE", "apart", "assemble", "expand", "fold", "inlined", "settle", "share", "simplify"]
