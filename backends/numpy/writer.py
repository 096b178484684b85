"""The Writer: names, buffers and views of the values of a program, and its source."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from backends.numpy import scalars
from backends.numpy.lines import CONSTANT, Line, Value, blocks
from backends.numpy.memory import Memory
from backends.numpy.rules import RULES, by_ufunc, elementwise
from backends.program.program import Instruction, Program, Ref, call

Array = Any
LINE = 64  # bytes: buffers begin at cache lines


class Writer:
    """Plans the buffers of a program and writes its source. lower: what runs the step of a scan."""

    def __init__(self, program: Program, lower: Callable[[Program], Any]):
        self.program, self.lower = program, lower
        self.specs = program.values
        self.memory = Memory(program)
        self.constants: dict[str, Any] = {"np": np, "empty": np.empty, "buffer": _buffer}
        self.values: dict[int, Value] = {}
        self.numbers: dict[int, Any] = {}  # uniform arrays: ref → number
        self.literals: dict[Any, Value] = {}  # numbers as arrays
        self.scalars: dict[int, str] = {}  # 0-d values that are Python floats: ref → name
        self.results = {y for y in program.outputs if type(y) is Ref}
        self.wanted = {r for i in program.body if any(program.values[out].shape for out in i.outs) for r in i.reads}  # of arrays
        self.given: dict[int, str] = {}  # place among the outputs → the view of a held pack that is given out
        self.head: list[str] = []  # the lines of make
        self.lines: list[Line] = []
        self.sizes: list[int] = []  # bytes of each buffer
        self.free: list[int] = []
        self.buffer_of: dict[int, int] = {}  # root → buffer
        self.made = 0
        self.kept: list[str] = []  # names of make that run assigns

    # --------------------------------------------------------------------------------------------- names and memory

    def constant(self, x: Any, stem: str = "k") -> str:
        for name, known in self.constants.items():
            if known is x:
                return name
        name = f"{stem}{len(self.constants)}"
        self.constants[name] = x
        return name

    def storage(self, out: Ref) -> Value:
        """Memory for a value that an instruction is about to make."""
        spec = self.specs[out]
        sample = np.empty(spec.shape, spec.dtype)
        home = self.memory.held.get(out, self.memory.taken.get(out))
        if home is not None:
            held = self.values[home]
            value = Value(held.name, sample, held.root, True, held.home)
        elif out in self.memory.placed:
            whole, key = self.memory.placed[out]
            value = self.flat(self.part(self.values.get(whole) or self.storage(whole), key), spec.shape)
        elif out in self.results:
            name = f"y{out}"
            value = Value(name, sample, int(out), True)
            self.lines.append(Line("{0} = empty(" + f"{spec.shape}, {self.constant(np.dtype(spec.dtype), 'd')})", [value], []))
        else:
            b = self.buffer_of[int(out)] = self.buffer(sample)
            name = f"b{out}"
            self.head.append(f"{name} = buffer(store[{b}], {spec.shape}, {self.constant(np.dtype(spec.dtype), 'd')})")
            value = Value(name, sample, int(out), False, ("buffer", b))
        self.values[out] = value
        return value

    def buffer(self, sample: Array) -> int:
        """The number of a buffer that is free for an array, or of a new one."""
        need = max(sample.nbytes, 1)
        fits = [b for b in self.free if need <= self.sizes[b] <= max(2 * need, 4096)]
        if fits:
            b = min(fits, key=lambda b: self.sizes[b])
            self.free.remove(b)
            return b
        self.sizes.append(-(-need // LINE) * LINE)
        return len(self.sizes) - 1

    def hold(self, i: Instruction) -> None:
        """A held pack: made, with its views, where the arguments are not the views that were given out last."""
        pack, spec = i.outs[0], self.specs[i.outs[0]]
        name, d = f"h{pack}", self.constant(np.dtype(spec.dtype), "d")
        names = []
        lines = [f"{name} = empty({spec.shape}, {d})"]
        for k, place, start in self.memory.packs[pack]:
            shape = self.specs[self.program.inputs[place]].shape
            view = f"g{k}"
            names.append(view)
            lines.append(f"{view} = {name}[{start}:{start + math.prod(shape)}].reshape({shape}); {view}[...] = x{place}")
            self.given[k] = view
        self.head += [f"{part} = None" for part in (name, *names)]
        self.kept += [name, *names]
        different = " or ".join(f"x{place} is not g{k}" for k, place, _ in self.memory.packs[pack])
        self.lines.append(Line(f"if {different}:", [], []))
        self.lines += [Line("    " + line, [], []) for line in lines]
        self.values[pack] = Value(name, np.empty(spec.shape, spec.dtype), int(pack), True)

    def scratch(self, shape: tuple[int, ...], dtype: Any) -> Value:
        """Memory that one instruction needs for itself."""
        self.made += 1
        name = f"t{self.made}"
        self.head.append(f"{name} = empty({shape}, {self.constant(np.dtype(dtype), 'd')})")
        return Value(name, np.empty(shape, dtype), -self.made, False)

    def view(self, x: Value, code: str, sample: Array, name: str) -> Value:
        """A view of a value: written into make where its memory is planned, into run where it comes with the call."""
        y = Value(name, sample, x.root, x.local, x.home, x.start + sample.ctypes.data - x.sample.ctypes.data)
        if x.local:
            self.lines.append(Line("{0} = " + code.format("{1}"), [y], [x], optional=True))
        else:
            self.head.append(f"{name} = {code.format(x.name)}")
        return y

    def part(self, x: Value, key: tuple[Any, ...]) -> Value:
        """A slice of a value."""
        self.made += 1
        return self.view(x, f"{{}}[{self.constant(key)}]", x.sample[key], f"p{self.made}")

    def flat(self, x: Value, shape: tuple[int, ...]) -> Value:
        """The same contiguous memory in another shape."""
        if x.sample.shape == shape:
            return x
        self.made += 1
        return self.view(x, f"{{}}.reshape({shape})", x.sample.reshape(shape), f"s{self.made}")

    def rows(self, v: Value) -> int:
        """The leading size of the largest operand of an elementwise line or a reduction within rows."""
        return v.sample.shape[0] if v.sample.ndim else 0

    # --------------------------------------------------------------------------------------------- what is read

    def operand(self, x: Any, dtype: str | None = None, shape: tuple[int, ...] = ()) -> Value:
        """What an instruction reads: a value, or a Python number as an array, 0-d if not told otherwise, of the dtype that it takes."""
        if type(x) is Ref:
            self.settle(x)
            if x in self.values:
                return self.values[x]
        number, name = (self.numbers[x], self.specs[x].dtype) if type(x) is Ref else (x, dtype or "float64")
        key = repr(number), name, shape
        if key not in self.literals:
            array = np.full(shape, number, dtype=name)
            self.literals[key] = Value(self.constant(array, "c"), array, CONSTANT, False)
        return self.literals[key]

    def solid(self, x: Any) -> Value:
        """An operand in its full shape."""
        if type(x) is Ref:
            self.settle(x)
        return self.operand(x, shape=self.specs[x].shape) if type(x) is Ref and x not in self.values else self.operand(x)

    def settle(self, x: Ref) -> None:
        """A Python float as a 0-d array, where an array is wanted."""
        if x in self.scalars and x not in self.values:
            y = self.storage(x)
            self.lines.append(Line(f"{{0}}[()] = {self.scalars[x]}", [y], []))

    # --------------------------------------------------------------------------------------------- instructions

    def write(self, i: Instruction) -> None:
        if self.scalar(i):
            return
        if i.outs[0] in self.memory.packs:
            self.hold(i)
            return
        if i.name == "full":
            self.numbers[i.outs[0]] = i.args[0]
            return
        if i.name == "constant":
            array = np.asarray(i.static["value"])
            self.values[i.outs[0]] = Value(self.constant(array), array, CONSTANT, False)
            return
        rule = elementwise if by_ufunc(self.specs, i) else RULES.get(i.name)
        if rule is None or len(i.outs) > 1 or not rule(self, i):
            self.called(i)

    def scalar(self, i: Instruction) -> bool:
        """0-d arithmetic as Python numbers, which a NumPy call costs tens of; rounded where an array or a result takes it."""
        out = self.specs[i.outs[0]]
        read = {self.specs[x].dtype for x in i.reads}
        if len(i.outs) > 1 or out.shape != () or any(self.specs[x].shape != () for x in i.reads):
            return False
        whole = out.dtype in scalars.WRAPPED and i.name in scalars.WHOLE and read <= {out.dtype} and all(type(x) in (int, Ref) for x in i.args)
        if whole:
            kind: type = int
            code = scalars.WRAPPED[out.dtype].format(scalars.FUNCTIONS[i.name])
        elif out.dtype in ("float32", "float64") and i.name in scalars.FUNCTIONS and read <= {"float32", "float64", "int32", "int64"}:
            kind, code = float, scalars.FUNCTIONS[i.name]
        else:
            return False
        if i.name == "astype" and (*read, out.dtype) == ("float32", "float64"):
            return False  # here the rounding shows

        def number(x: Any) -> str:
            if type(x) is not Ref or x in self.numbers:
                return self.constant(kind(self.numbers[x] if type(x) is Ref else x), "n")
            if x not in self.scalars:
                v = self.values[x]
                self.scalars[x] = f"s{x}"
                self.lines.append(Line(f"s{x} = {{0}}.item()", [], [v]))
            return self.scalars[x]

        arguments = [number(x) for x in i.args]
        self.constants.update(scalars.SAFE)
        name = self.scalars[i.outs[0]] = f"s{i.outs[0]}"
        self.lines.append(Line(f"{name} = {code.format(*arguments)}", [], []))
        if i.outs[0] in self.wanted and i.outs[0] not in self.memory.taken:
            self.settle(i.outs[0])
        return True

    def called(self, i: Instruction) -> None:
        """An instruction without planned memory: the library's own function, its results as they come."""
        reads = [self.solid(r) for r in i.reads]
        places = {r: k for k, r in enumerate(i.reads)}
        library = self.program.library

        def value(x: Any, arrays: tuple[Any, ...]) -> Any:
            return arrays[places[x]] if type(x) is Ref else [value(part, arrays) for part in x] if type(x) is list else x

        step = self.lower(i.program) if i.program is not None else None

        def function(*arrays: Any) -> Any:
            args = [value(x, arrays) for x in i.args]
            y = _scan(step, i, *args) if step is not None else call(library, i, args)
            several = [_apart(part, arrays) for part in (y if isinstance(y, tuple | list) else (y,))]
            return several if len(i.outs) > 1 else several[0]

        name = self.constant(function, "f")
        outs = []
        for out in i.outs:
            spec = self.specs[out]
            outs.append(Value(f"v{out}", np.empty(spec.shape, spec.dtype), int(out), True))
            self.values[out] = outs[-1]
        left = ", ".join(f"{{{k}}}" for k in range(len(outs))) + (", " if len(outs) > 1 else "")
        right = ", ".join(f"{{{len(outs) + k}}}" for k in range(len(reads)))
        self.lines.append(Line(f"{left} = {name}({right})" if outs else f"{name}({right})", outs, reads))

    def dot(self, a: Value, b: Value, y: Value, rows: int = 0) -> None:
        self.constants.setdefault("dot", np.dot)
        self.lines.append(Line("dot({1}, {2}, {0})", [y], [a, b], rows))

    # --------------------------------------------------------------------------------------------- the source

    def source(self) -> tuple[str, dict[str, Any]]:
        p = self.program
        names = [f"x{k}" for k in range(len(p.inputs))]
        for name, r in zip(names, p.inputs, strict=True):
            self.values[r] = Value(name, np.empty(p.values[r].shape, p.values[r].dtype), int(r), True)
        dying: dict[int, list[Ref]] = {}
        for root, n in self.memory.last_use.items():
            dying.setdefault(n, []).append(root)
        for n, i in enumerate(p.body):
            self.write(i)
            for root in dying.get(n, ()):
                if root in self.buffer_of:
                    self.free.append(self.buffer_of.pop(root))
        for y in p.outputs:
            if type(y) is Ref:
                self.settle(y)
        ends, given = self.results_lines()
        self.constants["sizes"] = tuple(self.sizes)
        self.drop_views(" ".join((*ends, *given)))
        given_memory = {self.values[r].home for r in (*self.memory.taken.values(), *self.memory.packs)}
        head, lines, spared = blocks(self.lines, given_memory)
        body = [*lines, *ends]
        text = ["def make():", "    store = [empty(n + 64, 'uint8') for n in sizes]"]
        text += [f"    {line}" for line in (*self.head, *head)]
        kept = [f"        nonlocal {', '.join(self.kept)}"] if self.kept else []
        text += [f"    def run({', '.join(names)}):", *kept]
        self.spared = len(text) + spared
        text += [*(f"        {line}" for line in body), f"        return [{', '.join(given)}]", "    return run"]
        return "\n".join(text) + "\n", self.constants

    def results_lines(self) -> tuple[list[str], list[str]]:
        """The last lines, and the names of the results: first what must be copied out, then what goes into donated memory."""
        p = self.program
        copies, writes, given = [], [], []
        for k, y in enumerate(p.outputs):
            if type(y) is not Ref:
                given.append(self.constant(y))
            elif k in self.given:
                given.append(self.given[k])
            elif y in p.inputs or y in self.memory.taken or (y in self.values and self.values[y].name == f"y{y}"):
                given.append(self.values[y].name)
            elif k in p.donated and self.memory.root_of[y] not in p.inputs and p.inputs[p.donated[k]] not in self.memory.taken.values():
                x = self.values[p.inputs[p.donated[k]]]
                writes.append(f"{x.name}[...] = {self.solid(y).name}")
                given.append(x.name)
            else:  # a view, a constant, or memory that is planned
                copies.append(f"o{k} = np.array({self.solid(y).name}, copy=True, order='C')")
                given.append(f"o{k}")
        return copies + writes, given

    def drop_views(self, ends: str) -> None:
        """Views that nothing uses are not made."""
        used = {v.name for v in self.values.values() if v.name in ends}
        kept = []
        for line in reversed(self.lines):
            if not line.optional or line.writes[0].name in used:
                kept.append(line)
                used.update(v.name for v in (*line.reads, *(() if line.optional else line.writes)))
        self.lines = kept[::-1]


def _buffer(store: Any, shape: tuple[int, ...], dtype: Any) -> Array:
    """An array in this memory, at a cache line."""
    shift = -store.ctypes.data % LINE
    return np.ndarray(shape, dtype, store, shift)


def _apart(y: Array, arrays: tuple[Array, ...]) -> Array:
    """y, copied where it is a view of an argument: real(x), a diagonal. The memory of x goes to others when x is read for the last time."""
    return np.array(y, copy=True) if any(np.may_share_memory(y, x) for x in arrays) else y


def _scan(step: Callable[[list[Any]], list[Any]], i: Instruction, carries: list[Any], xs: list[Any], closed: list[Any]) -> tuple[Any, ...]:
    """The loop of a scan, each step by its own source."""
    length = i.static["length"]
    ys: list[Any] = [None] * length
    for t in range(length - 1, -1, -1) if i.static["reverse"] else range(length):
        results = step([*carries, *(x[t] for x in xs), *closed])
        carries, ys[t] = results[: len(carries)], results[len(carries) :]
    return (*carries, *(np.stack(parts) for parts in zip(*ys, strict=True)))
