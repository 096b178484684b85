"""LLVM IR as text, written by arithmetic on values: y = a * x + b emits two instructions. A value is a vector of lanes, or one number.

    f = Function("axpy", ["ptr"])                    void axpy(int64_t* arguments)
    x, n = f.pointer(f.word(0)), f.word(1)
    with f.loop(0, n, 16) as i:
        f.store(x, i, 2.0 * f.load(x, i, "float32", 16))
    str(f)

Values know the dtype of arrays by its name ("float32", "uint8", "bool" …; "ptr" besides), so that unsigned integers divide, shift
and compare as such. Sums and products may contract to fma; nothing else is relaxed.
"""

from __future__ import annotations

import contextlib
import struct
from collections.abc import Iterator
from typing import Any

LLVM = {"float32": "float", "float64": "double", "bool": "i1", "ptr": "ptr"} | {f"{u}int{n}": f"i{n}" for n in (8, 16, 32, 64) for u in ("", "u")}
SIZE = {"float32": 4, "float64": 8, "bool": 1, "ptr": 8} | {f"{u}int{n}": n // 8 for n in (8, 16, 32, 64) for u in ("", "u")}
OPERATIONS = {  # name: (of floats, of signed, of unsigned integers and booleans)
    "add": ("fadd contract", "add", "add"),
    "sub": ("fsub contract", "sub", "sub"),
    "mul": ("fmul contract", "mul", "mul"),
    "div": ("fdiv", "sdiv", "udiv"),
    "rem": ("frem", "srem", "urem"),
    "and": ("", "and", "and"),
    "or": ("", "or", "or"),
    "xor": ("", "xor", "xor"),
    "shl": ("", "shl", "shl"),
    "shr": ("", "ashr", "lshr"),
    "lt": ("fcmp olt", "icmp slt", "icmp ult"),
    "le": ("fcmp ole", "icmp sle", "icmp ule"),
    "gt": ("fcmp ogt", "icmp sgt", "icmp ugt"),
    "ge": ("fcmp oge", "icmp sge", "icmp uge"),
    "eq": ("fcmp oeq", "icmp eq", "icmp eq"),
    "ne": ("fcmp une", "icmp ne", "icmp ne"),
}
COMPARISONS = ("lt", "le", "gt", "ge", "eq", "ne")


def is_float(dtype: str) -> bool:
    return dtype.startswith("float")


def is_signed(dtype: str) -> bool:
    return dtype.startswith("int")


def _operator(name: str, swapped: bool = False) -> Any:
    def operate(self: Value, other: Any) -> Value:
        a, b = (self.like(other), self) if swapped else (self, self.like(other))
        operation = OPERATIONS[name][0 if is_float(a.dtype) else 1 if is_signed(a.dtype) else 2]
        return a.function.emit(f"{operation} {a}, {b.text}", "bool" if name in COMPARISONS else a.dtype, a.lanes)

    return operate


class Value:
    """A result in a function: its name or literal in the text, a dtype, and a number of lanes (1: no vector)."""

    __slots__ = ("dtype", "function", "lanes", "text")

    __add__, __radd__ = _operator("add"), _operator("add", swapped=True)
    __sub__, __rsub__ = _operator("sub"), _operator("sub", swapped=True)
    __mul__, __rmul__ = _operator("mul"), _operator("mul", swapped=True)
    __truediv__, __rtruediv__ = _operator("div"), _operator("div", swapped=True)
    __mod__, __and__, __or__, __xor__ = _operator("rem"), _operator("and"), _operator("or"), _operator("xor")
    __lshift__, __rshift__ = _operator("shl"), _operator("shr")
    lt, le, gt, ge, eq, ne = (_operator(name) for name in COMPARISONS)

    def __init__(self, function: Function, text: str, dtype: str, lanes: int = 1):
        self.function, self.text, self.dtype, self.lanes = function, text, dtype, lanes

    @property
    def type(self) -> str:
        return type_of(self.dtype, self.lanes)

    def __str__(self) -> str:
        return f"{self.type} {self.text}"

    def like(self, number: Any) -> Value:
        """This number as a value of the same dtype and lanes; a value comes back as it is."""
        return number if isinstance(number, Value) else self.function.constant(number, self.dtype, self.lanes)

    def __neg__(self) -> Value:
        if is_float(self.dtype):
            return self.function.emit(f"fneg {self}", self.dtype, self.lanes)
        return 0 - self

    def __invert__(self) -> Value:
        return self ^ (True if self.dtype == "bool" else -1)

    def __abs__(self) -> Value:
        if is_float(self.dtype):
            return self.function.intrinsic("fabs", self)
        return self.function.select(self.lt(0), -self, self) if is_signed(self.dtype) else self


def type_of(dtype: str, lanes: int = 1) -> str:
    return LLVM[dtype] if lanes == 1 else f"<{lanes} x {LLVM[dtype]}>"


def literal(number: Any, dtype: str) -> str:
    """The number as LLVM writes it: floats by the bits of a double."""
    if dtype == "float32":
        number = struct.unpack("f", struct.pack("f", clipped(number)))[0]
    if is_float(dtype):
        return f"0x{struct.unpack('Q', struct.pack('d', number))[0]:016X}"
    return str(bool(number)).lower() if dtype == "bool" else str(int(number))


def clipped(number: float) -> float:
    """What rounds to ±inf in float32, as ±inf, for struct.pack refuses it."""
    return float(number) if not abs(number) >= 3.4028235677973366e38 else float("inf") if number > 0 else float("-inf")


class Function:
    """The text of one function while it grows. Parameters and the result are scalars, given by dtype; `returns` may be None."""

    def __init__(self, name: str, parameters: list[str], returns: str | None = None):
        self.parameters = [Value(self, f"%p{i}", dtype) for i, dtype in enumerate(parameters)]
        self.head = f"define {LLVM[returns] if returns else 'void'} @{name}({', '.join(map(str, self.parameters))}) #0 {{"
        self.lines: list[str] = []
        self.slots: list[str] = []
        self.declarations: set[str] = set()
        self.block = "entry"
        self.count = 0

    def __str__(self) -> str:
        return "\n".join([self.head, "entry:", *self.slots, *self.lines, "}"])

    def fresh(self) -> int:
        self.count += 1
        return self.count

    def line(self, text: str) -> None:
        self.lines.append(f"  {text}")

    def emit(self, text: str, dtype: str, lanes: int = 1) -> Value:
        """A new value, the result of this instruction."""
        value = Value(self, f"%v{self.fresh()}", dtype, lanes)
        self.line(f"{value.text} = {text}")
        return value

    def constant(self, number: Any, dtype: str, lanes: int = 1) -> Value:
        text = literal(number, dtype)
        return Value(self, text if lanes == 1 else f"splat ({LLVM[dtype]} {text})", dtype, lanes)

    def iota(self, dtype: str, lanes: int) -> Value:
        """0, 1, 2 …"""
        if lanes == 1:
            return self.constant(0, dtype)
        return Value(self, f"<{', '.join(f'{LLVM[dtype]} {literal(i, dtype)}' for i in range(lanes))}>", dtype, lanes)

    # arithmetic

    def select(self, condition: Value, a: Any, b: Any) -> Value:
        """a where the condition holds, else b."""
        a = a if isinstance(a, Value) else b.like(a)
        b = a.like(b)
        return self.emit(f"select {condition}, {a}, {b}", a.dtype, a.lanes)

    def fma(self, a: Value, b: Any, c: Any) -> Value:
        """a·b + c, rounded once."""
        return self.intrinsic("fma", a, a.like(b), a.like(c))

    def intrinsic(self, name: str, *arguments: Value, suffix: str = "") -> Value:
        """llvm.name of values of one type, whose result has it too."""
        a = arguments[0]
        kind = suffix or (f"v{a.lanes}" if a.lanes > 1 else "") + ("f" if is_float(a.dtype) else "i") + str(8 * SIZE[a.dtype] if a.dtype != "bool" else 1)
        return self.call(f"llvm.{name}.{kind}", arguments, a.dtype, a.lanes)

    def call(self, name: str, arguments: tuple[Value, ...] | list[Value], returns: str | None, lanes: int = 1) -> Value:
        """A function by name, or by address where `name` is the text of a value."""
        kind = type_of(returns, lanes) if returns else "void"
        if not name.startswith("%"):
            self.declarations.add(f"declare {kind} @{name}({', '.join(a.type for a in arguments)})")
            name = "@" + name
        text = f"call {kind} {name}({', '.join(map(str, arguments))})"
        if returns:
            return self.emit(text, returns, lanes)
        self.line(text)
        return Value(self, "", "")

    def opaque(self, x: Value) -> Value:
        """x as a number that LLVM knows nothing of: addresses made of the counter of a loop are left alone, where finding better ones takes it long."""
        return self.emit(f'call {x.type} asm "", "=r,0"({x})', x.dtype)

    def splat(self, x: Value, lanes: int) -> Value:
        """The number x in all lanes."""
        if lanes == x.lanes:
            return x
        if not x.text.startswith("%"):
            return Value(self, f"splat ({x})", x.dtype, lanes)
        kind = type_of(x.dtype, lanes)
        first = self.emit(f"insertelement {kind} poison, {x}, i64 0", x.dtype, lanes)
        return self.emit(f"shufflevector {first}, {kind} poison, <{lanes} x i32> zeroinitializer", x.dtype, lanes)

    def bits(self, x: Value, dtype: str) -> Value:
        """The same bits as this dtype of equal size."""
        return self.emit(f"bitcast {x} to {type_of(dtype, x.lanes)}", dtype, x.lanes)

    def cast(self, x: Value, dtype: str) -> Value:
        """x as this dtype. Floats beyond an integer's range: as NumPy on x86 has it, see `_whole`."""
        if x.dtype == dtype:
            return x
        if dtype == "bool":
            return x.ne(0)
        a, b, to = x.dtype, dtype, type_of(dtype, x.lanes)
        if is_float(a) and is_float(b):
            name = "fpext" if SIZE[b] > SIZE[a] else "fptrunc"
        elif is_float(a):
            return self._whole(x, b)
        elif is_float(b):
            name = "sitofp" if is_signed(a) else "uitofp"
        elif a != "bool" and SIZE[a] == SIZE[b]:
            return Value(self, x.text, b, x.lanes)
        else:
            name = "trunc" if a != "bool" and SIZE[a] > SIZE[b] else "sext" if is_signed(a) else "zext"
        return self.emit(f"{name} {x} to {to}", b, x.lanes)

    def _whole(self, x: Value, dtype: str) -> Value:
        """⌊|x|⌋ with the sign of x, modulo 2ⁿ: by way of int32 or int64, which hold their least number for what they cannot hold, NaN too."""
        if dtype in ("int8", "uint8", "int16", "uint16", "uint32"):
            return self.cast(self.cast(x, "int64" if dtype == "uint32" else "int32"), dtype)
        half = 2.0 ** (8 * SIZE[dtype] - 1)
        if dtype == "uint64":
            large = x.ge(half)
            return self.cast(self.cast(self.select(large, x - half, x), "int64"), dtype) + self.select(large, self.constant(1 << 63, dtype, x.lanes), 0)
        y = self.emit(f"fptosi {x} to {type_of(dtype, x.lanes)}", dtype, x.lanes)
        return self.select(x.ge(-half) & x.lt(half), y, -(1 << (8 * SIZE[dtype] - 1)))

    # memory

    def word(self, i: int) -> Value:
        """Word i of the argument table."""
        return self.load(self.parameters[0], self.constant(i, "int64"), "int64")

    def pointer(self, word: Value) -> Value:
        return self.emit(f"inttoptr {word} to ptr", "ptr")

    def at(self, pointer: Value, index: Any, dtype: str) -> Value:
        """The address of element `index`, or of each of several."""
        index = index if isinstance(index, Value) else self.constant(index, "int64")
        kind = "i8" if dtype == "bool" else LLVM[dtype]
        return self.emit(f"getelementptr {kind}, {pointer}, {index}", "ptr", index.lanes)

    def load(self, pointer: Value, index: Any, dtype: str, lanes: int = 1, mask: Value | None = None) -> Value:
        """The elements from `index` on, or those at a vector of indices; lanes not in the mask are 0."""
        held = "uint8" if dtype == "bool" else dtype
        place, kind, size = self.at(pointer, index, held), type_of(held, lanes), SIZE[held]
        if place.lanes > 1 or mask is not None:
            mask = mask or self.constant(True, "bool", lanes)
            x = self._masked("gather" if place.lanes > 1 else "load", place, f"{place}, i32 {size}, {mask}, {kind} zeroinitializer", held, lanes)
        else:
            x = self.emit(f"load {kind}, {place}, align {size}", held, lanes)
        return x.ne(0) if dtype == "bool" else x

    def store(self, pointer: Value, index: Any, x: Value, mask: Value | None = None) -> None:
        """x where `load` would find it; of two lanes at one place the last stays."""
        x = self.cast(x, "uint8") if x.dtype == "bool" else x
        place, size = self.at(pointer, index, x.dtype), SIZE[x.dtype]
        if place.lanes > 1 or mask is not None:
            mask = mask or self.constant(True, "bool", x.lanes)
            self._masked("scatter" if place.lanes > 1 else "store", place, f"{x}, {place}, i32 {size}, {mask}", x.dtype, x.lanes)
        else:
            self.line(f"store {x}, {place}, align {size}")

    def _masked(self, what: str, place: Value, arguments: str, dtype: str, lanes: int) -> Value:
        kind, mask, reads = type_of(dtype, lanes), type_of("bool", lanes), what in ("gather", "load")
        name = f"@llvm.masked.{what}.v{lanes}{'f' if is_float(dtype) else 'i'}{8 * SIZE[dtype]}.{f'v{lanes}p0' if place.lanes > 1 else 'p0'}"
        types = f"{place.type}, i32, {mask}, {kind}" if reads else f"{kind}, {place.type}, i32, {mask}"
        self.declarations.add(f"declare {kind if reads else 'void'} {name}({types})")
        text = f"call {kind if reads else 'void'} {name}({arguments})"
        if reads:
            return self.emit(text, dtype, lanes)
        self.line(text)
        return place

    def prefetch(self, place: Value, level: int) -> None:
        """Fetch the line at this address, which need not exist, into the caches from this level on (3: the first, 2: the second)."""
        self.call("llvm.prefetch.p0", [place, self.constant(0, "int32"), self.constant(level, "int32"), self.constant(1, "int32")], None)

    def slot(self, dtype: str, lanes: int = 1, count: int = 1) -> Value:
        """Room on the stack for values of this type, which LLVM keeps in registers where it can."""
        value = Value(self, f"%s{self.fresh()}", "ptr")
        self.slots.append(f"  {value.text} = alloca {type_of(dtype, lanes)}, i64 {count}, align 64")
        return value

    def atomic(self, what: str, pointer: Value, x: Any = None) -> Value:
        """An int64 that threads share: "load", "store" x, or "add" x and give what was there; seen by all in one order."""
        if what == "load":
            return self.emit(f"load atomic i64, {pointer} seq_cst, align 8", "int64")
        x = x if isinstance(x, Value) else self.constant(x, "int64")
        if what == "store":
            self.line(f"store atomic {x}, {pointer} seq_cst, align 8")
            return x
        return self.emit(f"atomicrmw {what} {pointer}, {x} seq_cst", "int64")

    def swap(self, pointer: Value, old: Value, new: Value) -> Value:
        """Whether there was `old` where now there is `new`."""
        pair = self.emit(f"cmpxchg {pointer}, {old}, {new} seq_cst seq_cst", "int64")
        return self.emit(f"extractvalue {{ i64, i1 }} {pair.text}, 1", "bool")

    # control

    def label(self, name: str) -> None:
        self.lines.append(f"{name}:")
        self.block = name

    @contextlib.contextmanager
    def loop(self, start: Any, stop: Any, step: Any = 1) -> Iterator[Value]:
        """for i in start, start + step, … while i < stop; i, start, stop and step are int64."""
        k, before = self.fresh(), self.block
        i = Value(self, f"%i{k}", "int64")
        start, stop, step = i.like(start), i.like(stop), i.like(step)
        self.line(f"br label %head{k}")
        self.label(f"head{k}")
        self.line(f"{i.text} = phi i64 [ {start.text}, %{before} ], [ %n{k}, %next{k} ]")
        self.line(f"br i1 {i.lt(stop).text}, label %body{k}, label %done{k}")
        self.label(f"body{k}")
        yield i
        self.line(f"br label %next{k}")
        self.label(f"next{k}")
        self.line(f"%n{k} = add nsw {i}, {step.text}")
        self.line(f"br label %head{k}")
        self.label(f"done{k}")

    @contextlib.contextmanager
    def when(self, condition: Value) -> Iterator[None]:
        """What stands beneath is done where the condition holds."""
        k = self.fresh()
        self.line(f"br {condition}, label %then{k}, label %else{k}")
        self.label(f"then{k}")
        yield
        self.line(f"br label %else{k}")
        self.label(f"else{k}")

    @contextlib.contextmanager
    def cases(self, value: Value, count: int) -> Iterator[Any]:
        """What stands beneath `with case(i)` is done where the value is i, of 0 to count − 1."""
        k = self.fresh()
        self.line(f"switch {value}, label %joined{k} [ {' '.join(f'{value.type} {i}, label %case{k}_{i}' for i in range(count))} ]")

        @contextlib.contextmanager
        def case(i: int) -> Iterator[None]:
            self.label(f"case{k}_{i}")
            yield
            self.line(f"br label %joined{k}")

        yield case
        self.label(f"joined{k}")

    @contextlib.contextmanager
    def forever(self) -> Iterator[Any]:
        """A loop that ends where its `leave(condition)` is called and the condition holds."""
        k = self.fresh()
        self.line(f"br label %again{k}")
        self.label(f"again{k}")

        def leave(condition: Value) -> None:
            j = self.fresh()
            self.line(f"br {condition}, label %left{k}, label %stay{j}")
            self.label(f"stay{j}")

        yield leave
        self.line(f"br label %again{k}")
        self.label(f"left{k}")

    def done(self, value: Value | None = None) -> None:
        self.line(f"ret {value}" if value else "ret void")


class Variable:
    """A value that changes: `get` and `set` it. LLVM keeps it in registers."""

    def __init__(self, function: Function, dtype: str, lanes: int = 1):
        self.value = Value(function, function.slot(dtype, lanes).text, dtype, lanes)

    def get(self) -> Value:
        v = self.value
        return v.function.emit(f"load {v.type}, ptr {v.text}", v.dtype, v.lanes)

    def set(self, x: Value) -> None:
        self.value.function.line(f"store {x}, ptr {self.value.text}")


def transposed(vectors: list[Value]) -> list[Value]:
    """As many vectors as each has lanes; first within 128 bits, then these as elements."""
    lanes, f = vectors[0].lanes, vectors[0].function
    near = min(lanes, 16 // SIZE[vectors[0].dtype])

    def halves(a: Value, b: Value, size: int, span: int, odd: int) -> Value:
        """The even or the odd pieces of this size of a and b, those of a first in each span."""
        pieces = [base + at for s in range(0, lanes, span) for base in (s, lanes + s) for at in range(odd * size, span, 2 * size)]
        places = ", ".join(f"i32 {piece + i}" for piece in pieces for i in range(size))
        return f.emit(f"shufflevector {a}, {b}, <{lanes} x i32> <{places}>", a.dtype, lanes)

    def turned(x: list[Value], size: int, span: int) -> list[Value]:
        if len(x) == 1:
            return x
        even, odd = (turned([halves(a, b, size, span, k) for a, b in zip(x[::2], x[1::2], strict=True)], size, span) for k in (0, 1))
        return [y for pair in zip(even, odd, strict=True) for y in pair]

    blocks = [turned(vectors[r : r + near], 1, near) for r in range(0, lanes, near)]
    far = [turned([block[k] for block in blocks], near, lanes) for k in range(near)]
    return [far[c % near][c // near] for c in range(lanes)]


def module(functions: list[Function]) -> str:
    """The text of a module of these functions."""
    declarations = sorted(set().union(*(f.declarations for f in functions)))
    attributes = 'attributes #0 = { nounwind "prefer-vector-width"="512" "no-trapping-math"="true" }'
    return "\n\n".join([*map(str, functions), "\n".join(declarations), attributes, ""])
