"""A Program: the flat list of Array API calls that a function makes, read off from its results on abstract arrays.

    program = trace(f, x, w)
    print(program)                 one line an instruction: a page of mathematics
    program.run(arrays)            the reference interpreter: each instruction by the library's own function
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from backends.library import GAPS, Library
from backends.program.abstract import Abstract, Spec
from backends.program.calls import Call, Captured, Input, Origin, Region
from backends.program.promotion import WIDTH
from backends.wrapped import COMPARISONS, OPERATORS, UNARY

Array = Any


class Ref(int):
    """The number of a value, where it is an argument of an instruction."""

    __slots__ = ()

    def __repr__(self) -> str:
        return f"v{int(self)}"


@dataclass(frozen=True)
class Instruction:
    """outs ← name(*args, **static); args: Refs, Python numbers, None, and lists of these."""

    name: str
    args: tuple[Any, ...]
    static: dict[str, Any]
    outs: tuple[Ref, ...]
    region: Region | None = field(default=None, compare=False)
    program: Program | None = None  # the step of a scan

    @cached_property
    def reads(self) -> list[Ref]:
        return refs(self.args)


@dataclass(frozen=True)
class Program:
    """values[r] is the shape and dtype of Ref r. Inputs are the arguments' arrays, then the arrays that f closed over."""

    values: tuple[Spec, ...]
    inputs: tuple[Ref, ...]
    captured: tuple[Array, ...]  # the arrays with data behind the last len(captured) inputs
    body: tuple[Instruction, ...]
    outputs: tuple[Any, ...]  # Refs, or constants that f returned
    library: Library = field(repr=False)
    device: Any = None
    names: dict[int, str] = field(default_factory=dict, repr=False)
    donated: dict[int, int] = field(default_factory=dict, repr=False)  # place among the outputs → place among the inputs whose memory it takes

    def run(self, arrays: Sequence[Array]) -> list[Any]:
        """The outputs for these inputs: the meaning of a Program, against which every pass and lowering is tested."""
        held: dict[int, Array] = dict(zip(self.inputs, (*arrays, *self.captured), strict=True))

        for i in self.body:
            held.update(zip(i.outs, results(self.library, i, held), strict=True))
        return valued(self.outputs, held)

    def with_body(self, body: Sequence[Instruction], outputs: Sequence[Any] | None = None) -> Program:
        """The same program with these instructions; those that nothing reads are left out."""
        outputs = self.outputs if outputs is None else tuple(outputs)
        needed = set(refs(outputs))
        kept: list[Instruction] = []
        for i in reversed(body):
            if not needed.isdisjoint(i.outs):
                kept.append(i)
                needed.update(i.reads)
        return replace(self, body=tuple(reversed(kept)), outputs=outputs)

    @property
    def flops(self) -> int:
        """Floating-point operations: 2·n·m·k for a product of matrices, one for each value that another instruction gives or sums."""
        return sum(_flops(i, self.values) for i in self.body)

    @property
    def bytes(self) -> int:
        """Memory of all values that instructions make; views count nothing."""
        return sum(_bytes(self.values[out]) for i in self.body if i.name not in VIEWS for out in i.outs)

    def __str__(self) -> str:
        from backends.program.show import text

        return text(self)

    def draw(self) -> Any:
        """A matplotlib figure of the graph: inputs above, outputs below, one box an instruction (needs the extra `plot`)."""
        from backends.program.show import draw

        return draw(self)


def spare(error: BaseException) -> None:
    """Note in an error that nothing donated had been written to when it was raised, for `Jitted.spares`."""
    error.spared = True  # type: ignore[attr-defined]


VIEWS = frozenset(("reshape", "permute_dims", "matrix_transpose", "expand_dims", "squeeze", "broadcast_to", "windows", "moveaxis", "get_item"))


def refs(args: Any) -> list[Ref]:
    """The Refs among these arguments, lists looked into."""
    found = []
    for x in args:
        if type(x) is Ref:
            found.append(x)
        elif type(x) is list:
            found += refs(x)
    return found


def size(s: Spec) -> int:
    return math.prod(s.shape)


def _bytes(s: Spec) -> int:
    return size(s) * max(1, WIDTH[s.dtype] // 8)


def _flops(i: Instruction, values: tuple[Spec, ...]) -> int:
    out = values[i.outs[0]]
    if i.program is not None:
        return i.program.flops * int(i.static["length"])
    if i.name in VIEWS or "float" not in out.dtype:
        return 0
    if i.name in ("matmul", "linalg.matmul", "vecdot", "tensordot"):
        inner = values[i.args[0]]
        k = inner.shape[-1] if i.name != "tensordot" else size(inner) * size(values[i.args[1]]) // max(size(out), 1)
        return 2 * size(out) * (k if i.name != "tensordot" else max(1, math.isqrt(k)))
    if i.name in ("sum", "mean", "max", "min", "prod", "fold", "scatter_add"):
        return size(values[i.args[0]])
    if i.name in ("zeros", "ones", "full", "zeros_like", "ones_like", "full_like", "empty", "asarray", "astype", "concat", "stack"):
        return 0
    return size(out)


# ------------------------------------------------------------------------------------------------- reading a program off


class Escaped(ValueError):
    """An abstract array left the function that was traced, and is used in another trace."""


def extract(
    outputs: Sequence[Any], inputs: Sequence[Input], library: Library, device: Any = None, since: int | None = None
) -> tuple[Program, list[Any]]:
    """The program from these inputs to these outputs (abstract arrays, or anything else, which stays a constant).

    since: for a step inside another trace, the serial before which calls belong to that other one. The origins of what they
    made and the step uses come back as the second result, and stand among the program's inputs behind its own.
    """
    own = {x.key for x in inputs}
    calls: dict[int, Call] = {}
    outer: dict[Any, Any] = {}
    captured: dict[int, Captured] = {}
    todo: list[tuple[Origin, Any]] = [(x.origin, None) for x in reversed(list(outputs)) if isinstance(x, Abstract)]  # with the call that reads it
    while todo:
        x, reader = todo.pop()
        if isinstance(x, Captured):
            captured.setdefault(x.key, x)
        elif isinstance(x, Input):
            if x.key not in own:
                if since is None:
                    place, line = (reader and reader.line) or ("", "")
                    raise Escaped(
                        f"an array that left another call under jit other than by return (computed there from {x.path}, {Spec(*x.spec)}) is used in this one"
                        f"{f', at {place}: {line}' if place else ''}. It has no value here; return it from that function, and hand it to this one as an argument."
                    )
                outer.setdefault(x.key, x)
        elif since is not None and x.call.serial < since:
            outer.setdefault(x.key, x)
        elif x.call.serial not in calls:
            calls[x.call.serial] = x.call
            todo += [(part, x.call) for part in reversed(_flat(x.call.arguments)) if isinstance(part, Origin)]

    values: list[Spec] = []
    names: dict[int, str] = {}
    numbers: dict[Any, Ref] = {}

    def new(key: Any, spec: tuple[tuple[int, ...], str]) -> Ref:
        values.append(Spec(*spec))
        numbers[key] = Ref(len(values) - 1)
        return numbers[key]

    def ref(x: Any) -> Any:
        if isinstance(x, Origin):
            return numbers[x.key]
        return [ref(part) for part in x] if isinstance(x, list) else x

    entered = []
    for x in (*inputs, *outer.values(), *captured.values()):
        entered.append(new(x.key, x.spec))
        names[entered[-1]] = x.path if isinstance(x, Input) else "closed over" if isinstance(x, Captured) else f"outer {len(entered)}"
    body = []
    for serial in sorted(calls):
        made = calls[serial]
        args = tuple(ref(x) for x in made.arguments)
        outs = tuple(new((serial, i), spec) for i, spec in enumerate(made.outputs))
        static = dict(made.static)
        program = static.pop("program") if made.name == "scan" else None
        body.append(Instruction(made.name, args, static, outs, made.region, program))
    arrays = tuple(x.array for x in captured.values())
    results = tuple(ref(x.origin) if isinstance(x, Abstract) else x for x in outputs)
    return Program(tuple(values), tuple(entered), arrays, tuple(body), results, library, device, names), list(outer.values())


def _flat(args: Any) -> list[Any]:
    found = []
    for x in args:
        if isinstance(x, list):
            found += _flat(x)
        else:
            found.append(x)
    return found


# ------------------------------------------------------------------------------------------------- running an instruction

SYMBOLS: dict[str, Callable[..., Any]] = {
    **{name: getattr(operator, {"and": "and_", "or": "or_"}.get(sign, sign)) for sign, name in OPERATORS.items()},
    **{name: getattr(operator, sign) for sign, name in COMPARISONS.items()},
    **{name: getattr(operator, sign) for sign, name in UNARY.items()},
}


# static parameters that are handed over by position, before and after the arrays: their names differ from library to library
LEADING = {"arange": ("start", "stop", "step"), "eye": ("n_rows", "n_cols"), **dict.fromkeys(("zeros", "ones", "empty", "full"), ("shape",))}
_TRAILING = {
    "astype": ("dtype",), "broadcast_to": ("shape",), "linspace": ("num",), "moveaxis": ("source", "destination"), "permute_dims": ("axes",),
    "reshape": ("shape",), "roll": ("shift",), "tile": ("repetitions",), "linalg.matrix_power": ("n",),
}  # fmt: skip

_NAMED = {"diff": ("prepend", "append"), "searchsorted": ("sorter",)}  # the last parameters, which are handed over by name


def _pop(static: dict[str, Any], keys: tuple[str, ...]) -> list[Any]:
    values = [static.pop(key) for key in keys if key in static]
    while values and values[-1] is None:
        values.pop()
    return values


def results(library: Library, i: Instruction, held: dict[int, Array]) -> Sequence[Any]:
    """What an instruction gives for these values; an error says where in the function it arose."""
    try:
        y = call(library, i, valued(i.args, held))
    except Exception as error:
        from backends.program.show import Regions

        region, operands = Regions()(i), ", ".join(f"{held[r].dtype} {tuple(held[r].shape)}" for r in i.reads)
        error.add_note(f"under jit{region and f', in {region}'}: {i.name} of {operands}")
        raise
    return y if isinstance(y, tuple | list) else (y,)


def valued(args: Sequence[Any], held: dict[int, Array]) -> list[Any]:
    return [held[x] if type(x) is Ref else valued(x, held) if type(x) is list else x for x in args]


def call(library: Library, i: Instruction, args: list[Any]) -> Any:
    """What the library's own function returns for one instruction."""
    if i.name == "scan":
        return _scan(library, i, args)
    if i.name == "constant":
        return i.static["value"]
    if i.name in GAPS:
        return GAPS[i.name](*args, **i.static)
    if i.name in SYMBOLS and any(type(x) in (int, float, bool, complex) for x in args):
        return SYMBOLS[i.name](*args)  # an operator takes Python numbers in every library
    static = dict(i.static)
    if i.name == "to_device":
        return args[0] if library.device_of(args[0]) == static["device"] else library.place(args[0], static["device"])
    if named := _NAMED.get(i.name):
        plain = 2 if i.name == "searchsorted" else 1
        static |= {key: x for key, x in zip(named, args[plain:], strict=False) if x is not None}
        args = args[:plain]
    if i.name == "clip":
        args = [*args, None, None][:3]  # NumPy wants both bounds
    lead = _pop(static, LEADING.get(i.name, ()))
    args = [*args, *_pop(static, _TRAILING.get(i.name, ()))]
    f: Any = library.xp
    for part in i.name.split("."):
        f = getattr(f, part)
    return f(*lead, *args, **static)


def _scan(library: Library, i: Instruction, args: list[Any]) -> Any:
    """args: [carries], [xs], [what the step closes over]."""
    assert i.program is not None
    carries, xs, closed = args
    length = i.static["length"]
    ys: list[Any] = [None] * length
    for t in range(length - 1, -1, -1) if i.static["reverse"] else range(length):
        results = i.program.run([*carries, *(x[t, ...] for x in xs), *closed])
        carries, ys[t] = results[: len(carries)], results[len(carries) :]
    return (*carries, *(library.xp.stack(list(parts), axis=0) for parts in zip(*ys, strict=True)))


__all__ = ["Instruction", "Program", "Ref", "call", "extract", "refs", "results", "size"]
