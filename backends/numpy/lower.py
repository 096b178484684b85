"""A Program as straight-line NumPy: one line an instruction, on buffers that are planned and viewed once.

    def make():                       # for each thread that runs the program at one time
        b0 = buffer(0, (32, 10), "float32")
        def run(x0, x1):
            dot(x0, x1, b0)
            add(b0, x2, b0)
            …
            return [b0]
        return run

What a replay allocates are its results, and what NumPy has no `out` for. Runs of instructions that treat the rows of large arrays
alike are done in blocks of rows that stay in the cache.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from backends.numpy import scalars
from backends.numpy.bands import Blocks, bands
from backends.numpy.pack import pack
from backends.numpy.taps import taps
from backends.program.passes import ELEMENTWISE, simplify
from backends.program.program import Instruction, Program, Ref, call, size, spare
from backends.program.promotion import FLOATING
from backends.wrapped import join_key

Array = Any
CHUNK = 1 << 14  # entries of one operand in a block of rows
FEW = 32  # entries that an elementwise extreme of slices is taken of
LINE = 64  # bytes: buffers begin at cache lines
CONSTANT = -(1 << 40)  # the root of what is never written
REDUCTIONS = {"sum": np.add, "max": np.maximum, "min": np.minimum, "prod": np.multiply, "any": np.logical_or, "all": np.logical_and}
VIEWS = ("reshape", "permute_dims", "broadcast_to", "get_item", "windows")


class NumPyRun:
    """What runs a Program on NumPy arrays. It may be called from several threads: each call in progress has its own buffers."""

    why_not_native = ""  # the reason, for explain()

    def __init__(self, program: Program):
        self.program = pack(taps(bands(simplify(program))))
        writer = Writer(self.program)
        self.source, self.constants = writer.source()
        self.spared = writer.spared  # lines of the source before the first that writes into donated memory
        scope = dict(self.constants)
        exec(compile(self.source, "<program>", "exec"), scope)
        self._make = scope["make"]
        self._idle: list[Any] = []
        self.donated = sorted(set(self.program.donated.values()))
        self._others = [place for place in range(len(self.program.inputs)) if place not in self.donated]
        self._owned: tuple[list[Any], set[int]] = [None] * len(self.donated), set()  # donated arrays as last seen, what their memory belongs to

    def __call__(self, arrays: list[Array]) -> list[Array]:
        program = self.program
        arrays = [*arrays, *program.captured] if program.captured else arrays
        if self.donated:
            arrays = self._own(arrays)
        try:
            run = self._idle.pop()
        except IndexError:
            run = self._make()
        try:
            results: list[Array] = run(*arrays)
        except BaseException as error:
            inside = error.__traceback__.tb_next  # type: ignore[union-attr]
            if self.donated and inside is not None and inside.tb_lineno <= self.spared:
                spare(error)
            raise
        self._idle.append(run)
        return results

    def _own(self, arrays: list[Array]) -> list[Array]:
        """The arrays, copied where writing into the donated ones would be seen elsewhere.

        Of donated arrays those that are read-only, not NumPy's own memory, or share memory with another donated one; of the
        others those that share memory with a donated one.
        """
        last, roots = self._owned
        for place, x in zip(self.donated, last, strict=True):
            if arrays[place] is not x:
                arrays = list(arrays)
                roots = self._admit(arrays)
                break
        for place in self._others:
            x = arrays[place]
            root = _root(x)
            if id(root) in roots or (not isinstance(root, np.ndarray | np.generic) and any(np.may_share_memory(x, arrays[k]) for k in self.donated)):
                arrays = list(arrays)
                arrays[place] = np.array(x, copy=True)
        return arrays

    def _admit(self, arrays: list[Array]) -> set[int]:
        """Donated arrays that were not seen before, copied where they must not be written; what the memory of all of them belongs to."""
        seen: dict[int, list[Array]] = {}
        for place in self.donated:
            x = arrays[place]
            plain = type(x) is np.ndarray and x.flags.writeable and x.dtype.isnative and isinstance(_root(x), np.ndarray)
            if not plain or any(np.may_share_memory(x, y) for y in seen.get(id(_root(x)), ())):
                x = arrays[place] = np.array(x, dtype=x.dtype.newbyteorder("="), order="C")
            seen.setdefault(id(_root(x)), []).append(x)
        roots = set(seen)
        self._owned = [arrays[place] for place in self.donated], roots
        return roots

    def explain(self) -> str:
        reason = f"; not native: {self.why_not_native}" if self.why_not_native else ""
        lines = self.source.count("\n")
        return f"numpy: {len(self.program.body)} instructions as {lines} lines of NumPy calls on planned buffers{reason}"


def _root(x: Any) -> Any:
    """What the memory of x belongs to: an array, or a foreign thing (a buffer, a tensor, a capsule) that others may hold in other ways."""
    while (base := getattr(x, "base", None)) is not None:
        x = base
    return x


class Value:
    """How the source names a value. sample: an array of its shape, dtype and strides, to ask which views are possible.

    root: the value whose memory it is; home: the memory, which several values have one after the other; start: where in it, in bytes.
    """

    __slots__ = ("home", "local", "name", "root", "sample", "start")

    def __init__(self, name: str, sample: Array, root: int, local: bool, home: Any = None, start: int = 0):
        self.name, self.sample, self.root, self.local, self.start = name, sample, root, local, start
        self.home = root if home is None else home


class Line:
    """One call of the source: a template over the names of what it writes and reads.

    rows: the leading size, where it treats the rows of its operands alike, else 0. Operands that have these rows as their
    leading axis may then be replaced by blocks of them; the others are broadcast along it.
    """

    __slots__ = ("optional", "reads", "rowed", "rows", "template", "writes")

    def __init__(self, template: str, writes: list[Value], reads: list[Value], rows: int = 0, optional: bool = False):
        self.template, self.writes, self.reads, self.rows, self.optional = template, writes, reads, rows, optional
        axes = max((v.sample.ndim for v in (*writes, *reads)), default=0)
        reduced = bool(writes) and writes[0].sample.ndim < axes
        self.rowed = [rows > 0 and v.sample.shape[:1] == (rows,) and (v.sample.ndim == axes or (reduced and v is writes[0])) for v in (*writes, *reads)]

    def text(self, names: dict[str, str] | None = None) -> str:
        values = (*self.writes, *self.reads)
        return self.template.format(*(names[v.name] if names and rowed else v.name for v, rowed in zip(values, self.rowed, strict=True)))

    def uses(self) -> list[tuple[Value, bool]]:
        return list(zip((*self.writes, *self.reads), self.rowed, strict=True))


class Writer:
    """Plans the buffers of a program and writes its source."""

    def __init__(self, program: Program):
        self.program = program
        self.specs = program.values
        self.constants: dict[str, Any] = {"np": np, "empty": np.empty, "buffer": _buffer}
        self.values: dict[int, Value] = {}
        self.numbers: dict[int, Any] = {}  # uniform arrays: ref → number
        self.literals: dict[Any, Value] = {}  # numbers as arrays
        self.scalars: dict[int, str] = {}  # 0-d values that are Python floats: ref → name
        self.head: list[str] = []  # the lines of make
        self.lines: list[Line] = []
        self.sizes: list[int] = []  # bytes of each buffer
        self.free: list[int] = []
        self.buffer_of: dict[int, int] = {}  # root → buffer
        self.last_use: dict[int, int] = {}
        self.made = 0
        self.kept: list[str] = []  # names of make that run assigns
        self._where_it_dies()

    # --------------------------------------------------------------------------------------------- names and memory

    def constant(self, x: Any, stem: str = "k") -> str:
        for name, known in self.constants.items():
            if known is x:
                return name
        name = f"{stem}{len(self.constants)}"
        self.constants[name] = x
        return name

    def _where_it_dies(self) -> None:
        """For each instruction that makes memory, the last instruction that reads it through any view."""
        p = self.program
        root = {r: r for r in p.inputs}
        last: dict[int, int] = {}
        for n, i in enumerate(p.body):
            for r in i.reads:
                last[root[r]] = n
            for out in i.outs:
                root[out] = root[i.args[0]] if i.name in VIEWS and not (i.name == "get_item" and i.args[1]) else out
                last[root[out]] = n
        for y in p.outputs:
            if type(y) is Ref:
                last[root[y]] = len(p.body)
        self.root_of, self.last_use = root, last
        self.results = {y for y in p.outputs if type(y) is Ref}
        self.held: dict[Ref, Ref] = {}  # a pack's result → the pack of donated inputs in whose memory it is written
        self.given: dict[int, str] = {}  # place among the outputs → the view of a held pack that is given out
        self.packs: dict[Ref, list[tuple[int, int, int]]] = {}  # pack of donated inputs → (output, input, where it starts)
        self._find_held()
        packed = {p.inputs[place] for views in self.packs.values() for _, place, _ in views}
        self.taken: dict[int, int] = {}  # result → the donated input in whose memory it is written
        for n, i in enumerate(p.body):
            for out in i.outs:
                for k, place in p.donated.items():
                    x = p.inputs[place]
                    if p.outputs[k] == out and x not in packed and self.by_ufunc(i) and last.get(x, -1) <= n:
                        self.taken[out] = x

    def _find_held(self) -> None:
        """Packs of donated inputs whose results are given out again as such a pack: their memory stays from call to call.

        What is given out are views of it. Where the next call brings these very views back, nothing is copied.
        """
        p = self.program
        maker = {out: i for i in p.body for out in i.outs}
        place_of = {r: k for k, r in enumerate(p.inputs)}

        def through_reshape(r: Ref) -> Ref:
            return maker[r].args[0] if r in maker and maker[r].name == "reshape" else r

        def source(k: int) -> tuple[Ref, int] | None:
            """(pack, start) of output k, where it is a slice of one."""
            i = maker.get(through_reshape(p.outputs[k]))
            if i is None or i.name != "get_item" or i.args[1] or not isinstance(i.static["key"], tuple) or len(i.static["key"]) != 1:
                return None
            part, n = i.static["key"][0], size(p.values[p.outputs[k]])
            return (i.args[0], part.start) if isinstance(part, slice) and part.start is not None and part == slice(part.start, part.start + n) else None

        given = {place: (k, source(k)) for k, place in p.donated.items()}
        for n, i in enumerate(p.body):
            if i.name != "concat" or i.static["axis"] != 0 or len(p.values[i.outs[0]].shape) != 1:
                continue
            places = [place_of.get(through_reshape(r)) for r in i.args[0]]
            starts = [sum(size(p.values[r]) for r in i.args[0][:k]) for k in range(len(places))]
            found = [given.get(place) if place is not None else None for place in places]
            if not all(f is not None and f[1] is not None for f in found):
                continue
            results = {f[1][0] for f in found}  # type: ignore[index]
            if len(results) != 1 or [f[1][1] for f in found] != starts:  # type: ignore[index]
                continue
            (result,) = results
            made = maker.get(result)
            if made is None or not self.by_ufunc(made) or p.values[result] != p.values[i.outs[0]]:
                continue
            if self.last_use[i.outs[0]] <= p.body.index(made) and all(self.last_use[p.inputs[place]] <= n for place in places):  # type: ignore[index]
                self.held[result] = i.outs[0]
                self.packs[i.outs[0]] = [(f[0], place, start) for f, place, start in zip(found, places, starts, strict=True)]  # type: ignore[index,misc]

    def hold(self, i: Instruction) -> None:
        """A held pack: made, with its views, where the arguments are not the views that were given out last."""
        pack, spec = i.outs[0], self.specs[i.outs[0]]
        name, d = f"h{pack}", self.constant(np.dtype(spec.dtype), "d")
        names = []
        lines = [f"{name} = empty({spec.shape}, {d})"]
        for k, place, start in self.packs[pack]:
            shape = self.specs[self.program.inputs[place]].shape
            view = f"g{k}"
            names.append(view)
            lines.append(f"{view} = {name}[{start}:{start + math.prod(shape)}].reshape({shape}); {view}[...] = x{place}")
            self.given[k] = view
        self.head += [f"{part} = None" for part in (name, *names)]
        self.kept += [name, *names]
        different = " or ".join(f"x{place} is not g{k}" for k, place, _ in self.packs[pack])
        self.lines.append(Line(f"if {different}:", [], []))
        self.lines += [Line("    " + line, [], []) for line in lines]
        self.values[pack] = Value(name, np.empty(spec.shape, spec.dtype), int(pack), True)

    def storage(self, out: Ref) -> Value:
        """Memory for a value that an instruction is about to make."""
        spec = self.specs[out]
        sample = np.empty(spec.shape, spec.dtype)
        if out in self.held:
            pack = self.values[self.held[out]]
            value = Value(pack.name, sample, pack.root, True, pack.home)
        elif out in self.taken:
            held = self.values[self.taken[out]]
            value = Value(held.name, sample, held.root, True, held.home)
        elif out in self.results:
            name = f"y{out}"
            value = Value(name, sample, int(out), True)
            self.lines.append(Line("{0} = empty(" + f"{spec.shape}, {self.constant(np.dtype(spec.dtype), 'd')})", [value], []))
        else:
            need = max(sample.nbytes, 1)
            fits = [b for b in self.free if need <= self.sizes[b] <= max(4 * need, 4096)]
            if fits:
                b = min(fits, key=lambda b: self.sizes[b])
                self.free.remove(b)
            else:
                b = len(self.sizes)
                self.sizes.append(-(-need // LINE) * LINE)
            self.buffer_of[int(out)] = b
            name = f"b{out}"
            self.head.append(f"{name} = buffer(store[{b}], {spec.shape}, {self.constant(np.dtype(spec.dtype), 'd')})")
            value = Value(name, sample, int(out), False, ("buffer", b))
        self.values[out] = value
        return value

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

    def scalar(self, i: Instruction) -> bool:
        """0-d arithmetic as Python floats, which a NumPy call costs tens of; rounded where an array or a result takes it."""
        out = self.specs[i.outs[0]]
        if len(i.outs) > 1 or out.shape != () or out.dtype not in ("float32", "float64") or i.name not in scalars.FUNCTIONS:
            return False
        if i.name == "astype" and (self.specs[i.args[0]].dtype, out.dtype) == ("float32", "float64"):
            return False  # here the rounding shows
        if any(type(x) is Ref and (self.specs[x].shape != () or self.specs[x].dtype not in ("float32", "float64", "int32", "int64")) for x in i.args):
            return False

        def number(x: Any) -> str:
            if type(x) is not Ref or x in self.numbers:
                return self.constant(float(self.numbers[x] if type(x) is Ref else x), "n")
            if x not in self.scalars:
                v = self.values[x]
                self.scalars[x] = f"s{x}"
                self.lines.append(Line(f"s{x} = {{0}}.item()", [], [v]))
            return self.scalars[x]

        code = scalars.FUNCTIONS[i.name].format(*map(number, i.args))
        self.constants.update(scalars.SAFE)
        name = self.scalars[i.outs[0]] = f"s{i.outs[0]}"
        self.lines.append(Line(f"{name} = {code}", [], []))
        return True

    def settle(self, x: Ref) -> None:
        """A Python float as a 0-d array, where an array is wanted."""
        if x in self.scalars and x not in self.values:
            y = self.storage(x)
            self.lines.append(Line(f"{{0}}[()] = {self.scalars[x]}", [y], []))

    def solid(self, x: Any) -> Value:
        """An operand in its full shape."""
        if type(x) is Ref:
            self.settle(x)
        return self.operand(x, shape=self.specs[x].shape) if type(x) is Ref and x not in self.values else self.operand(x)

    # --------------------------------------------------------------------------------------------- the source

    def source(self) -> tuple[str, dict[str, Any]]:
        p = self.program
        names = [f"x{k}" for k in range(len(p.inputs))]
        for name, r in zip(names, p.inputs, strict=True):
            self.values[r] = Value(name, np.empty(p.values[r].shape, p.values[r].dtype), int(r), True)
        dying: dict[int, list[int]] = {}
        for root, n in self.last_use.items():
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
        lines, spared = self.blocks()
        body = [*lines, *ends]
        text = ["def make():", "    store = [empty(n + 64, 'uint8') for n in sizes]"]
        text += [f"    {line}" for line in self.head]
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
            elif y in p.inputs or y in self.taken or (y in self.values and self.values[y].name == f"y{y}"):
                given.append(self.values[y].name)
            elif k in p.donated and self.root_of[y] not in p.inputs and p.inputs[p.donated[k]] not in self.taken.values():
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

    def blocks(self) -> tuple[list[str], int]:
        """The lines, with runs that treat the rows of large arrays alike put into a loop over blocks of rows; how many come before the first that writes into donated memory."""
        text: list[str] = []
        k = 0
        given = {self.values[r].home for r in (*self.taken.values(), *self.packs)}
        spared: int | None = None
        while k < len(self.lines):
            run = self.run_of_rows(k)
            if spared is None and any(v.home in given for line in self.lines[k : k + max(run, 1)] for v in line.writes):
                spared = len(text)
            if run:
                text += self.loop(self.lines[k : k + run])
                k += run
            else:
                text.append(self.lines[k].text())
                k += 1
        return text, len(text) if spared is None else spared

    def run_of_rows(self, k: int) -> int:
        """How many lines from k on make one block: at least two, alike in rows, on arrays of more than two chunks."""
        n = self.lines[k].rows
        if n < 2:
            return 0
        end = k
        while end < len(self.lines) and self.lines[end].rows == n and not self.crosses(self.lines[k:end], self.lines[end]):
            end += 1
        largest = max((v.sample.size for line in self.lines[k:end] for v, _ in line.uses()), default=0)
        return end - k if end - k >= 2 and largest > 2 * CHUNK else 0

    def crosses(self, block: list[Line], line: Line) -> bool:
        """Whether a line cannot join the block: in memory that one of its lines writes another, or it itself, does not have the same rows."""

        def clash(written: tuple[Value, bool], other: tuple[Value, bool]) -> bool:
            (w, rowed), (v, also) = written, other
            return bool(w.home == v.home and not (rowed and also and (w.start, w.sample.strides[0]) == (v.start, v.sample.strides[0])))

        mine = line.uses()
        before = [use for earlier in block for use in earlier.uses()]
        written = [use for earlier in block for use in earlier.uses()[: len(earlier.writes)]]
        return any(clash(w, use) for w in mine[: len(line.writes)] for use in (*before, *mine)) or any(clash(w, use) for w in written for use in mine)

    def loop(self, lines: list[Line]) -> list[str]:
        n = lines[0].rows
        rowed = list({v.name: v for line in lines for v, yes in line.uses() if yes}.values())
        step = max(1, CHUNK // max(1, max(v.sample.size for v in rowed) // n))
        names = {v.name: f"r_{v.name}" for v in rowed}
        self.made += 1
        ends = f"e{self.made}"
        planned = [v for v in rowed if not v.local]
        parts = "".join(f", {v.name}[i:i + {step}]" for v in planned)
        self.head.append(f"{ends} = [(i, i + {step}{parts}) for i in range(0, {n}, {step})]")
        text = [f"for i, j{''.join(', ' + names[v.name] for v in planned)} in {ends}:"]
        text += [f"    {names[v.name]} = {v.name}[i:j]" for v in rowed if v.local]
        return text + [f"    {line.text(names)}" for line in lines]

    # --------------------------------------------------------------------------------------------- instructions

    def write(self, i: Instruction) -> None:
        if self.scalar(i):
            return
        if i.outs[0] in self.packs:
            self.hold(i)
            return
        if i.name == "full":
            self.numbers[i.outs[0]] = i.args[0]
            return
        if i.name == "constant":
            array = np.asarray(i.static["value"])
            self.values[i.outs[0]] = Value(self.constant(array), array, CONSTANT, False)
            return
        rule = Writer.elementwise if self.by_ufunc(i) else WRITERS.get(i.name)
        if rule is None or len(i.outs) > 1 or not rule(self, i):
            self.called(i)

    def called(self, i: Instruction) -> None:
        """An instruction without planned memory: the library's own function, its results as they come."""
        reads = [self.solid(r) for r in i.reads]
        places = {r: k for k, r in enumerate(i.reads)}
        library = self.program.library

        def value(x: Any, arrays: tuple[Any, ...]) -> Any:
            return arrays[places[x]] if type(x) is Ref else [value(part, arrays) for part in x] if type(x) is list else x

        step = NumPyRun(i.program) if i.program is not None else None

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

    def rows(self, v: Value) -> int:
        """The leading size of the largest operand of an elementwise line or a reduction within rows."""
        return v.sample.shape[0] if v.sample.ndim else 0

    def by_ufunc(self, i: Instruction) -> bool:
        """Whether the instruction is one call of a ufunc, on arrays of one dtype or of floats, into memory that is planned."""
        strong = {self.specs[x].dtype for x in i.reads}
        return i.name in ELEMENTWISE and isinstance(_ufunc(i.name), np.ufunc) and (len(strong) == 1 or strong <= FLOATING)

    def elementwise(self, i: Instruction) -> bool:
        common = np.result_type(*(self.specs[x].dtype for x in i.reads), *(np.complex64 for x in i.args if type(x) is complex)).name
        reads = [self.operand(x, common) for x in i.args]
        y = self.storage(i.outs[0])
        u = self.constant(_ufunc(i.name), "u_")
        arguments = ", ".join(f"{{{k + 1}}}" for k in range(len(reads)))
        out_of = "out=" if i.name in ("maximum", "minimum") else ""  # these take it by keyword alone
        self.lines.append(Line(f"{u}({arguments}, {out_of}{{0}})", [y], reads, self.rows(y)))
        return True

    def astype(self, i: Instruction) -> bool:
        if "complex" in self.specs[i.args[0]].dtype:
            return False
        x = self.solid(i.args[0])
        y = self.storage(i.outs[0])
        self.lines.append(Line("{0}[...] = {1}", [y], [x], self.rows(y)))
        return True

    def where(self, i: Instruction) -> bool:
        """y = b ⊕ ((a ⊕ b) & mask) on the bits: exact, and without a branch a processor could guess wrong."""
        out = self.specs[i.outs[0]]
        strong = {self.specs[x].dtype for x in i.args[1:] if type(x) is Ref}
        if strong - {out.dtype}:
            return False
        c = self.operand(i.args[0])
        a, b = self.operand(i.args[1], out.dtype), self.operand(i.args[2], out.dtype)
        width = np.dtype(out.dtype).itemsize
        small = size(out) <= 512 or width not in (4, 8)
        if small or c.local or a.local or b.local or any(v.sample.shape not in ((), out.shape) for v in (a, b)) or c.sample.shape != out.shape:
            y = self.storage(i.outs[0])
            self.constants.setdefault("where", np.where)
            self.lines.append(Line("{0}[...] = where({1}, {2}, {3})", [y], [c, a, b], self.rows(y)))
            return True
        bits = f"int{8 * width}"
        y = self.storage(i.outs[0])
        if y.root in (a.root, b.root) or y.local:
            self.constants.setdefault("where", np.where)
            self.lines.append(Line("{0}[...] = where({1}, {2}, {3})", [y], [c, a, b], self.rows(y)))
            return True

        def as_bits(v: Value) -> Value:
            name = f"i_{v.name}_{width}"
            if v.root == CONSTANT:
                self.constants.setdefault(name, v.sample.view(bits))
                return Value(name, self.constants[name], v.root, False)
            return self.view(v, f"{{}}.view('{bits}')", v.sample.view(bits), name)

        ya, aa, bb = as_bits(y), as_bits(a), as_bits(b)
        n = self.rows(y)
        mask = self.scratch(out.shape, bits)
        signs = self.view(c, "{}.view('int8')", c.sample.view("int8"), f"i_{c.name}_1")
        for name, u in (("u_negative", np.negative), ("u_xor", np.bitwise_xor), ("u_and", np.bitwise_and)):
            self.constants.setdefault(name, u)
        self.lines.append(Line("u_negative({1}, {0})", [mask], [signs], n))
        zero = type(i.args[2]) is not Ref and i.args[2] == 0 and math.copysign(1, i.args[2]) > 0
        if zero or (type(i.args[2]) is Ref and self.numbers.get(i.args[2], 1) == 0):
            self.lines.append(Line("u_and({1}, {2}, {0})", [ya], [aa, mask], n))
            return True
        self.lines.append(Line("u_xor({1}, {2}, {0})", [ya], [aa, bb], n))
        self.lines.append(Line("u_and({1}, {2}, {0})", [ya], [ya, mask], n))
        self.lines.append(Line("u_xor({1}, {2}, {0})", [ya], [ya, bb], n))
        return True

    def reduction(self, i: Instruction) -> bool:
        x, out = self.solid(i.args[0]), self.specs[i.outs[0]]
        axes, keep = i.static["axis"], i.static.get("keepdims", False)
        shape = x.sample.shape
        if i.name in ("sum", "prod") and self.specs[i.args[0]].dtype != out.dtype:
            return False
        if i.name in ("max", "min") and 0 in shape:
            return False
        if i.name in ("max", "min") and len(shape) - 1 not in axes and math.prod(shape[a] for a in axes) <= FEW and size(out) > 512:
            self.slices(i, x, axes, keep)
            return True
        y = self.storage(i.outs[0])
        n, rest = math.prod(shape[: len(axes)]), math.prod(shape[len(axes) :])
        floating = out.dtype in ("float32", "float64")
        if i.name == "sum" and floating and x.sample.flags.c_contiguous and axes == tuple(range(len(axes))) and rest > 1 and n > 8:
            rows = self.flat(x, (n, rest))
            self.dot(self.operand(1, out.dtype, (n,)), rows, self.flat(y, (rest,)))
        elif i.name == "sum" and floating and x.sample.flags.c_contiguous and axes == (len(shape) - 1,) and 1 < shape[-1] <= 64 and len(shape) > 1:
            k = shape[-1]
            rows = self.flat(x, (x.sample.size // k, k))
            self.dot(rows, self.operand(1, out.dtype, (k,)), self.flat(y, (x.sample.size // k,)), self.rows(x) if 0 not in axes and len(shape) == 2 else 0)
        else:
            u = self.constant(REDUCTIONS[i.name].reduce, "reduce_")
            axis: Any = axes[0] if len(axes) == 1 else axes if len(axes) != len(shape) else None
            where = self.rows(x) if 0 not in axes and out.shape[:1] == shape[:1] else 0
            self.lines.append(Line(f"{u}({{1}}, {axis}, None, {{0}}, {keep})", [y], [x], where))
        return True

    def slices(self, i: Instruction, x: Value, axes: tuple[int, ...], keep: bool) -> None:
        """The extreme over short axes, one axis after the other, as an elementwise extreme of slices: long inner loops."""
        u = self.constant(REDUCTIONS[i.name], "u_")
        for number, axis in enumerate(axes):
            k = x.sample.shape[axis]
            lead = (slice(None),) * axis
            last = number == len(axes) - 1
            shape = (*x.sample.shape[:axis], 1, *x.sample.shape[axis + 1 :])
            if last:
                y = self.storage(i.outs[0])
                y = y if y.sample.shape == shape else self.flat(y, shape)
            else:
                y = self.scratch(shape, x.sample.dtype)
            parts = [self.part(x, (*lead, slice(q, q + 1))) for q in range(k)]
            if k == 1:
                self.lines.append(Line("{0}[...] = {1}", [y], parts))
            for q in range(1, k):
                self.lines.append(Line(f"{u}({{1}}, {{2}}, out={{0}})", [y], [y if q > 1 else parts[0], parts[q]]))
            x = y

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

    def dot(self, a: Value, b: Value, y: Value, rows: int = 0) -> None:
        self.constants.setdefault("dot", np.dot)
        self.lines.append(Line("dot({1}, {2}, {0})", [y], [a, b], rows))

    def matmul(self, i: Instruction) -> bool:
        a, b = self.solid(i.args[0]), self.solid(i.args[1])
        out = self.specs[i.outs[0]]
        if self.specs[i.args[0]].dtype != self.specs[i.args[1]].dtype or out.dtype not in FLOATING or 0 in (*a.sample.shape, *b.sample.shape):
            return False
        y = self.storage(i.outs[0])
        if b.sample.ndim == 2 and a.sample.ndim >= 2 and (a.sample.ndim == 2 or a.sample.flags.c_contiguous):
            k, m = b.sample.shape
            self.dot(self.flat(a, (a.sample.size // k, k)), b, self.flat(y, (a.sample.size // k, m)))
        elif a.sample.ndim == 1 and b.sample.ndim <= 2 and out.shape:
            self.dot(a, b, y)
        else:
            self.constants.setdefault("matmul", np.matmul)
            self.lines.append(Line("matmul({1}, {2}, {0})", [y], [a, b]))
        return True

    def viewed(self, i: Instruction) -> bool:
        if i.args[0] in self.numbers or (i.name == "get_item" and i.args[1]):
            return False
        x, out = self.solid(i.args[0]), self.specs[i.outs[0]]
        name = f"w{i.outs[0]}"
        if i.name == "permute_dims":
            axes = i.static["axes"]
            self.values[i.outs[0]] = self.view(x, f"{{}}.transpose({axes})", x.sample.transpose(axes), name)
        elif i.name == "broadcast_to":
            self.constants.setdefault("broadcast_to", np.broadcast_to)
            self.values[i.outs[0]] = self.view(x, f"broadcast_to({{}}, {out.shape})", np.broadcast_to(x.sample, out.shape), name)
        elif i.name == "get_item":
            key = join_key(i.static["key"], [])
            sample = x.sample[key] if out.shape else x.sample[(*key, ...) if isinstance(key, tuple) and Ellipsis not in key else key]
            whole = key if out.shape or (isinstance(key, tuple) and Ellipsis in key) else (*(key if isinstance(key, tuple) else (key,)), ...)
            self.values[i.outs[0]] = self.view(x, f"{{}}[{self.constant(whole)}]", np.asarray(sample), name)
        elif i.name == "windows":
            windows = self.program.library.gaps["windows"]
            f = self.constant(functools.partial(windows, **i.static), "windows")
            self.values[i.outs[0]] = self.view(x, f"{f}({{}})", windows(x.sample, **i.static), name)
        else:
            try:
                sample = np.reshape(x.sample, out.shape, copy=False)
            except ValueError:
                y = self.storage(i.outs[0])
                source = self.view(y, f"{{}}.reshape({x.sample.shape})", y.sample.reshape(x.sample.shape), f"{name}_from")
                self.lines.append(Line("{0}[...] = {1}", [source], [x]))
                return True
            self.values[i.outs[0]] = self.view(x, f"{{}}.reshape({out.shape})", sample, name)
        return True

    def concat(self, i: Instruction) -> bool:
        out, axis = self.specs[i.outs[0]], i.static["axis"]
        if any(self.specs[x].dtype != out.dtype for x in i.args[0]):
            return False
        parts = [self.operand(x) for x in i.args[0]]
        y = self.storage(i.outs[0])
        start = 0
        for r, part in zip(i.args[0], parts, strict=True):
            n = self.specs[r].shape[axis]
            if n:
                place = self.part(y, (slice(None),) * axis + (slice(start, start + n),))
                self.lines.append(Line("{0}[...] = {1}", [place], [part]))
            start += n
        return True

    def take(self, i: Instruction) -> bool:
        axis = i.static.get("axis")
        x, index = self.solid(i.args[0]), self.solid(i.args[1])
        out = self.specs[i.outs[0]]
        y = self.values[i.outs[0]] = Value(f"v{i.outs[0]}", np.empty(out.shape, out.dtype), int(i.outs[0]), True)
        self.lines.append(Line(f"{{0}} = {{1}}.take({{2}}, {axis})", [y], [x, index]))
        return True

    def set_item(self, i: Instruction) -> bool:
        x, value, arrays = i.args
        if arrays or (type(value) is Ref and self.specs[value].dtype != self.specs[i.outs[0]].dtype):
            return False
        base = None if x in self.numbers else self.solid(x)
        part = self.operand(value, self.specs[i.outs[0]].dtype)
        y = self.storage(i.outs[0])
        self.lines.append(Line(f"{{0}}.fill({self.constant(self.numbers[x], 'n')})", [y], []) if base is None else Line("{0}[...] = {1}", [y], [base]))
        self.lines.append(Line(f"{{0}}[{self.constant(join_key(i.static['key'], []))}] = {{1}}", [y], [part]))
        return True

    def fold(self, i: Instruction) -> bool:
        shape, strides, dilations = i.static["shape"], i.static["strides"], i.static["dilations"]
        x, out = self.solid(i.args[0]), self.specs[i.outs[0]]
        r = len(shape)
        counts, sizes = x.sample.shape[1 : 1 + r], x.sample.shape[1 + r : 1 + 2 * r]
        if 0 in x.sample.shape or 0 in out.shape:
            return False
        y = self.storage(i.outs[0])
        if sizes == tuple(strides) and set(dilations) == {1} and all(o * k == n for o, k, n in zip(counts, sizes, shape, strict=True)):
            n, c = out.shape[0], out.shape[-1]
            split = (n, *(m for pair in zip(counts, sizes, strict=True) for m in pair), c)
            order = (0, *(m for pair in zip(range(1, 1 + r), range(1 + r, 1 + 2 * r), strict=True) for m in pair), 1 + 2 * r)
            self.made += 1
            target = self.flat(y, split)
            source = self.view(x, f"{{}}.transpose({order})", x.sample.transpose(order), f"p{self.made}")
            self.lines.append(Line("{0}[...] = {1}", [target], [source]))
            return True
        self.constants.setdefault("u_add", np.add)
        for axis in range(r - 1, -1, -1):
            o, k, s, d = counts[axis], sizes[axis], strides[axis], dilations[axis]
            full = (*x.sample.shape[: 1 + axis], shape[axis], *x.sample.shape[2 + axis : -2], x.sample.shape[-1])
            target = y if axis == 0 else self.scratch(full, out.dtype)
            self.lines.append(Line("{0}.fill(0)", [target], []))
            for q in range(k):
                place = self.part(target, (slice(None),) * (1 + axis) + (slice(q * d, q * d + (o - 1) * s + 1, s),))
                part = self.part(x, (..., q, slice(None)))
                self.lines.append(Line("u_add({1}, {2}, {0})", [place], [place, part]))
            x = target
        return True

    def fold_product(self, i: Instruction) -> bool:
        """x[n, p·s + q·d, c] += Σ_f a[n, p, f]·b[f, q, c]  for each tap q: a row of positions at a time (taps.py).

        Where the last axis has fewer places p than taps, a product for all of its taps is added place by place.
        """
        windows, strides, dilations = i.static["windows"], i.static["strides"], i.static["dilations"]
        a, b = self.solid(i.args[0]), self.solid(i.args[1])
        rank = len(i.static["shape"])
        counts, sizes, c = windows[1 : 1 + rank], windows[1 + rank : -1], windows[-1]
        by_place = counts[-1] < sizes[-1]
        taps, together = (sizes[:-1], sizes[-1]) if by_place else (sizes, 1)
        x = self.storage(i.outs[0])
        part = self.scratch((a.sample.shape[0], together * c), x.sample.dtype)
        placed = self.flat(part, (*windows[: 1 + rank], together, c))
        self.constants.setdefault("u_add", np.add)
        self.lines.append(Line("{0}.fill(0)", [x], []))
        for number, tap in enumerate(itertools.product(*map(range, taps))):
            self.dot(a, self.part(b, (slice(None), slice(number * together * c, (number + 1) * together * c))), part)
            seen = tuple(slice(q * d, q * d + (o - 1) * s + 1, s) for q, o, s, d in zip(tap, counts, strides, dilations, strict=False))
            s, d = strides[-1], dilations[-1]
            ends = [((slice(p * s, p * s + (sizes[-1] - 1) * d + 1, d),), p) for p in range(counts[-1])] if by_place else [((), slice(None))]
            for along, p in ends:
                place = self.part(x, (slice(None), *seen, *along))
                added = self.part(placed, (..., p, slice(None) if by_place else 0, slice(None)))
                self.lines.append(Line("u_add({1}, {2}, {0})", [place], [place, added]))
        return True

    def banded(self, i: Instruction) -> bool:
        """t[m, c, r, f] = w[m − r·s, c, f], 0 outside of w (bands.py)"""
        w = self.solid(i.args[0])
        t = self.storage(i.outs[0])
        self.lines.append(Line("{0}.fill(0)", [t], []))
        band = self.band(t, i.static["blocks"])
        self.lines.append(Line("{0}[...] = {1}", [band], [self.flat(w, (*band.sample.shape[:3], 1, band.sample.shape[-1]))]))
        return True

    def diagonals(self, i: Instruction) -> bool:
        """dw[q, c, f] = Σ_r dt[r·s + q, c, r, f] (bands.py)"""
        band = self.band(self.solid(i.args[0]), i.static["blocks"])
        shape = band.sample.shape
        dw = self.flat(self.storage(i.outs[0]), (*shape[:3], shape[4]))
        self.lines.append(Line(f"{self.constant(np.add.reduce, 'reduce_')}({{1}}, 3, None, {{0}})", [dw], [band]))
        return True

    def band(self, t: Value, s: Blocks) -> Value:
        """t, contiguous, as (…, k, c, b, f): the taps of each of the b places."""
        self.made += 1
        step = t.sample.itemsize
        across = s.b * s.f * step
        shape = (math.prod(s.windows[1 + s.rank : -2]), *s.windows[-2:], s.b, s.f)
        strides = (s.long * s.windows[-1] * across, s.windows[-1] * across, across, s.strides[-1] * s.windows[-1] * across + s.f * step, step)
        self.constants.setdefault("as_strided", np.lib.stride_tricks.as_strided)
        return self.view(t, f"as_strided({{}}, {shape}, {strides})", np.lib.stride_tricks.as_strided(t.sample, shape, strides), f"p{self.made}")

    def argmax(self, i: Instruction) -> bool:
        axis = i.static.get("axis")
        if axis is None or self.specs[i.outs[0]].dtype != "int64":
            return False
        x = self.solid(i.args[0])
        y = self.storage(i.outs[0])
        f = self.constant(getattr(np, i.name), i.name)
        self.lines.append(Line(f"{f}({{1}}, {axis}, {{0}}, keepdims={i.static.get('keepdims', False)})", [y], [x]))
        return True


WRITERS: dict[str, Callable[[Writer, Instruction], bool]] = {
    **dict.fromkeys(VIEWS, Writer.viewed), **dict.fromkeys(REDUCTIONS, Writer.reduction), "astype": Writer.astype, "where": Writer.where,
    "matmul": Writer.matmul, "concat": Writer.concat, "set_item": Writer.set_item, "take": Writer.take, "fold": Writer.fold, "fold_product": Writer.fold_product,
    "banded": Writer.banded, "diagonals": Writer.diagonals, "argmax": Writer.argmax, "argmin": Writer.argmax,
}  # fmt: skip


def _ufunc(name: str) -> Any:
    return np.absolute if name == "abs" else getattr(np, name, None)


def _buffer(store: Any, shape: tuple[int, ...], dtype: Any) -> Array:
    """An array in this memory, at a cache line."""
    shift = -store.ctypes.data % LINE
    return np.ndarray(shape, dtype, store, shift)


def _apart(y: Array, arrays: tuple[Array, ...]) -> Array:
    """y, copied where it is a view of an argument: real(x), a diagonal. The memory of x goes to others when x is read for the last time."""
    return np.array(y, copy=True) if any(np.may_share_memory(y, x) for x in arrays) else y


def _scan(step: NumPyRun, i: Instruction, carries: list[Any], xs: list[Any], closed: list[Any]) -> tuple[Any, ...]:
    """The loop of a scan, each step by its own source."""
    length = i.static["length"]
    ys: list[Any] = [None] * length
    for t in range(length - 1, -1, -1) if i.static["reverse"] else range(length):
        results = step([*carries, *(x[t] for x in xs), *closed])
        carries, ys[t] = results[: len(carries)], results[len(carries) :]
    return (*carries, *(np.stack(parts) for parts in zip(*ys, strict=True)))
