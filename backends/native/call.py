"""A call of a jitted function as one call of machine code: it looks at the arguments' trees, runs the program, and makes the result's tree.

    call = bind(run, args, …)          call(*args) → the result; NotImplemented, and nothing is done, for arguments that are otherwise

Rows of a table say what is done (Call); registers hold objects: first the arrays that the program takes, then what is met or made on the way. No code of
Python runs before the result stands: it can be no other thread's, and nothing moves while a row looks at it. So references are borrowed, but for what is made.

What was donated comes back in the arrays that were given, so the containers around them are the same at each step but for who holds them. The
last two generations of them are kept, and one that nobody else holds any more is given out again, when it still holds these arrays.
"""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from backends import tree as trees
from backends.native import compile as compiler
from backends.native import workers
from backends.native.emit import Function, Value, Variable

Tree = Any

# words of a row: what it does, to which register A, with what; where it fails, the row at JUMP is next, else the one that follows
OP, A, B, COUNT, TABLE, LIMIT, JUMP = range(7)
ROW_WORDS = 8  # a cache line
# looking: A is …
ARGS, TUPLE, LIST, DICT = range(4)  # the arguments, or of class B with at most LIMIT references; its COUNT items go as TABLE says
ARRAY, SAME, INT, FLOAT = range(4, 8)  # an array of COUNT dimensions, TABLE; B, or (COUNT) equal to it; of class B, and its value goes to TABLE
# running
SPARE, EMPTY = 8, 9  # A: the elder generation; a new array of dtype B and COUNT dimensions, TABLE
READY, RUN, CHECK = 10, 11, 12  # the threads that share TABLE are awake and idle; the program of code B and words TABLE; IndexError if a byte is at TABLE
# making: A is …
SCALAR, FROM_INT, FROM_FLOAT = 13, 14, 15  # what array B holds, as a scalar of NumPy of dtype TABLE, or as a number
NEW_TUPLE, NEW_LIST, NEW_DICT = 16, 17, 18  # of COUNT items, as TABLE says
KEEP = 19  # henceforth the younger generation
RETURN, UNKNOWN, ERROR, OPERATIONS = 20, 21, 22, 23  # the result; the result is NotImplemented, or an exception

# words of a call: where its rows and registers are; the list of the two generations, and which is the younger; the COUNT_OWNED registers that hold
# references of their own until the call ends; then the addresses of functions and objects of Python and NumPy
ROWS, REGISTERS, GENERATIONS, TURN, OWNED, COUNT_OWNED, FIRST = range(7)
FUNCTIONS = """
    Py_IncRef Py_DecRef PyDict_Next PyObject_RichCompareBool PyLong_AsLongLongAndOverflow PyFloat_AsDouble PyLong_FromLongLong PyFloat_FromDouble
    PyTuple_New PyTuple_SetItem PyList_New PyList_SetItem PyDict_New PyDict_SetItem PyGC_Disable PyGC_Enable PyErr_SetString
""".split()
PLACES = {name: FIRST + i for i, name in enumerate([*FUNCTIONS, "array", "none", "unknown", "new", "scalar", "error", "message"])}
NEW, FROM_SCALAR = 94, 60  # where NumPy's interface has PyArray_NewFromDescr and PyArray_Scalar
ANY = (1 << 31) - 1
OUT_OF_RANGE = "an index of take, take_along_axis or scatter_add is out of range; what was donated has been written to"


@dataclass(frozen=True)
class Call:
    """PyObject*(self, PyObject** args, count): a method of Python (METH_FASTCALL) whose self is the array of the words above.

    TABLE of items: pairs of a key, 0 without one, and a register; ~register: the item must be what the register holds.
    """

    head: int  # bytes of a Python object before what is its own; its class stands last there
    items: int  # bytes of a tuple before its items

    def function(self, name: str) -> Function:
        f = Function(name, ["ptr", "ptr", "int64"], "ptr")
        _, args, given = f.parameters
        own = self.head // 8
        words = f.pointer(f.load(f.parameters[0], own, "int64"))
        registers, generations = (f.pointer(f.load(words, i, "int64")) for i in (REGISTERS, GENERATIONS))
        place, result, old, good = Variable(f, "int64"), Variable(f, "int64"), Variable(f, "int64"), Variable(f, "bool")
        met = f.slot("int64", count=3)  # place in a dict, key, value
        as_list = f.at(words, REGISTERS - own - 1, "int64")  # its items are the registers: what a run looks for in a list
        zero, none = f.constant(0, "int64"), f.pointer(f.constant(0, "int64"))

        def api(which: str, *arguments: Value, gives: str | None = "int64") -> Value:
            return f.call(f.pointer(f.load(words, PLACES[which], "int64")).text, arguments, gives)

        def count_of(x: Value) -> Value:
            return f.load(f.pointer(x), own, "int64")

        def is_a(x: Value, kind: Value) -> Value:
            return f.load(f.pointer(x), own - 1, "int64").eq(kind)

        def equal(x: Value, y: Value) -> Value:
            """The very same; or of one class, for which keys and constants are str, int, bool, float, and equal."""
            same = Variable(f, "bool")
            same.set(x.eq(y))
            with f.when(~same.get() & is_a(x, f.load(f.pointer(y), own - 1, "int64"))):
                same.set(api("PyObject_RichCompareBool", f.pointer(x), f.pointer(y), f.constant(2, "int32"), gives="int32").eq(1))  # Py_EQ
            return same.get()

        def need(condition: Value) -> None:
            good.set(good.get() & condition)

        result.set(zero)
        old.set(zero)
        place.set(f.load(words, ROWS, "int64"))
        collects = api("PyGC_Disable", gives="int32")
        with f.forever() as leave:
            row = f.pointer(place.get())
            op, a, b, count, table_, limit = (f.load(row, i, "int64") for i in range(JUMP))
            table, x = f.pointer(table_), f.load(registers, a, "int64")
            good.set(f.constant(True, "bool"))

            def receive(i: Value, item: Value) -> None:
                register = f.load(table, i * 2 + 1, "int64")
                fixed = register.lt(0)
                register = f.select(fixed, ~register, register)
                held = f.load(registers, register, "int64")
                need(~fixed | held.eq(item))
                f.store(registers, register, f.select(fixed, held, item))

            def sequence(items: Callable[[], Value]) -> None:
                need(is_a(x, b) & count_of(x).eq(count) & f.cast(f.load(f.pointer(x), 0, "int32"), "int64").le(limit))
                with f.when(good.get()):
                    found = items()
                    with f.loop(0, count) as i:
                        receive(i, f.load(found, i, "int64"))

            def made(y: Value) -> None:
                f.store(registers, a, y)
                need(y.ne(0))

            with f.cases(op, OPERATIONS) as case:
                with case(ARGS):
                    need(given.eq(count))
                    with f.when(good.get()), f.loop(0, count) as i:
                        receive(i, f.load(args, i, "int64"))
                with case(TUPLE):
                    sequence(lambda: f.pointer(x + self.items))
                with case(LIST):
                    sequence(lambda: f.pointer(f.load(f.pointer(x), own + 1, "int64")))
                with case(DICT):
                    need(is_a(x, b) & count_of(x).eq(count) & f.cast(f.load(f.pointer(x), 0, "int32"), "int64").le(limit))
                    with f.when(good.get()):
                        f.store(met, 0, zero)
                        with f.loop(0, count) as i:
                            api("PyDict_Next", f.pointer(x), met, f.at(met, 1, "int64"), f.at(met, 2, "int64"), gives="int32")
                            need(equal(f.load(met, 1, "int64"), f.load(table, i * 2, "int64")))
                            receive(i, f.load(met, 2, "int64"))
                with case(ARRAY):
                    need(is_a(x, f.load(words, PLACES["array"], "int64")))
                    with f.when(good.get()):
                        need(f.cast(f.load(f.pointer(x + self.head + 8), 0, "int32"), "int64").eq(count))
                    with f.when(good.get()):
                        sizes = f.pointer(f.load(f.pointer(x), own + 2, "int64"))
                        with f.loop(0, count) as i:
                            need(f.load(sizes, i, "int64").eq(f.load(table, i, "int64")))
                with case(SAME):
                    need(x.eq(b))
                    with f.when(count.ne(0)):
                        good.set(equal(x, b))
                with case(INT):
                    need(is_a(x, b))
                    with f.when(good.get()):
                        f.store(table, 0, api("PyLong_AsLongLongAndOverflow", f.pointer(x), met))
                        need(f.load(met, 0, "int32").eq(0))
                with case(FLOAT):
                    need(is_a(x, b))
                    with f.when(good.get()):
                        f.store(table, 0, api("PyFloat_AsDouble", f.pointer(x), gives="float64"))
                with case(SPARE):
                    turn = f.load(words, TURN, "int64") ^ 1
                    f.store(words, TURN, turn)
                    f.store(registers, a, f.load(f.pointer(f.load(generations, own + 1, "int64")), turn, "int64"))
                with case(EMPTY):
                    api("Py_IncRef", f.pointer(b), gives=None)
                    kind = f.pointer(f.load(words, PLACES["array"], "int64"))
                    made(api("new", kind, f.pointer(b), f.cast(count, "int32"), table, none, none, f.constant(0, "int32"), none))
                with case(READY):
                    need((f.load(table, workers.SLEEPERS, "int64") | f.load(table, workers.CLASH, "int64") | f.load(table, workers.BUSY, "int64")).eq(0))
                with case(RUN):
                    said = f.call(f.pointer(b).text, [table, as_list], "int64")
                    need(said.eq(f.load(words, PLACES["none"], "int64")))
                    api("Py_DecRef", f.pointer(said), gives=None)
                with case(CHECK):
                    need(f.load(table, 0, "uint8").eq(0))
                    with f.when(~good.get()):
                        f.store(table, 0, f.constant(0, "uint8"))
                        api("PyErr_SetString", *(f.pointer(f.load(words, PLACES[part], "int64")) for part in ("error", "message")), gives=None)
                with case(SCALAR):
                    array = f.pointer(f.load(registers, b, "int64"))
                    made(api("scalar", f.pointer(f.load(array, own, "int64")), table, array))
                with case(FROM_INT):
                    made(api("PyLong_FromLongLong", f.load(f.pointer(f.load(f.pointer(f.load(registers, b, "int64")), own, "int64")), 0, "int64")))
                with case(FROM_FLOAT):
                    made(api("PyFloat_FromDouble", f.load(f.pointer(f.load(f.pointer(f.load(registers, b, "int64")), own, "int64")), 0, "float64")))
                for operation, kind_ in ((NEW_TUPLE, "PyTuple"), (NEW_LIST, "PyList")):
                    with case(operation):
                        made(y := api(f"{kind_}_New", count))
                        with f.when(good.get()), f.loop(0, count) as i:
                            item = f.pointer(f.load(registers, f.load(table, i * 2 + 1, "int64"), "int64"))
                            api("Py_IncRef", item, gives=None)
                            api(f"{kind_}_SetItem", f.pointer(y), i, item, gives="int32")
                with case(NEW_DICT):
                    made(y := api("PyDict_New"))
                    with f.when(good.get()), f.loop(0, count) as i:
                        item = f.load(registers, f.load(table, i * 2 + 1, "int64"), "int64")
                        need(api("PyDict_SetItem", f.pointer(y), f.pointer(f.load(table, i * 2, "int64")), f.pointer(item), gives="int32").eq(0))
                with case(KEEP):
                    kept, turn = f.pointer(f.load(generations, own + 1, "int64")), f.load(words, TURN, "int64")
                    old.set(f.load(kept, turn, "int64"))
                    api("Py_IncRef", f.pointer(x), gives=None)
                    f.store(kept, turn, x)
                with case(RETURN):
                    result.set(x)
                with case(UNKNOWN):
                    result.set(f.load(words, PLACES["unknown"], "int64"))
                with case(ERROR):
                    pass
            leave(op.ge(RETURN))
            place.set(place.get() + 8 * ROW_WORDS)
            with f.when(~good.get()):  # a load here keeps this a branch: the processor goes on to the next row before it knows
                place.set(f.load(row, JUMP, "int64"))
        with f.when(result.get().ne(0)):
            api("Py_IncRef", f.pointer(result.get()), gives=None)
        owned = f.pointer(f.load(words, OWNED, "int64"))
        with f.loop(0, f.load(words, COUNT_OWNED, "int64")) as i:
            register = f.load(owned, i, "int64")
            x = f.load(registers, register, "int64")
            with f.when(x.ne(0)):
                f.store(registers, register, zero)
                api("Py_DecRef", f.pointer(x), gives=None)
        with f.when(collects.ne(0)):
            api("PyGC_Enable", gives="int32")
        with f.when(old.get().ne(0)):
            api("Py_DecRef", f.pointer(old.get()), gives=None)  # the last thing: this may run anything
        f.done(f.pointer(result.get()))
        return f


CALL = Call(object.__basicsize__, tuple.__basicsize__)


class Unsuited(Exception):
    """A tree or a leaf that rows do not know: Python does the call."""


class Rows:
    """The rows of a call, while they are written, and all that they name."""

    def __init__(self, registers: int):
        self.rows: list[list[Any]] = []  # JUMP: the name of a label
        self.labels: dict[str, int] = {}
        self.registers = [0] * registers
        self.owned: list[int] = []
        self.kept: list[Any] = []

    def register(self, x: Any = NotImplemented, owned: bool = False) -> int:
        """A new one, which may hold an object x for good."""
        self.registers.append(0 if x is NotImplemented else self.object(x))
        if owned:
            self.owned.append(len(self.registers) - 1)
        return len(self.registers) - 1

    def object(self, x: Any) -> int:
        self.kept.append(x)
        return id(x)

    def words(self, words: Iterable[int]) -> int:
        self.kept.append(np.array([*words, 0], np.int64))
        return address(self.kept[-1])

    def items(self, x: Tree, registers: list[int]) -> tuple[int, int]:
        """COUNT and TABLE of a container like x."""
        keys = map(self.object, x) if isinstance(x, dict) else [0] * len(registers)
        return len(registers), self.words(word for pair in zip(keys, registers, strict=True) for word in pair)

    def add(self, jump: str, op: int, a: int = 0, b: int = 0, count: int = 0, table: int = 0, limit: int = ANY) -> list[Any]:
        self.rows.append([op, a, b, count, table, limit, jump, 0])
        return self.rows[-1]

    def label(self, name: str) -> None:
        self.labels[name] = len(self.rows)

    def look(self, x: Tree, jump: str, limit: int, leaf: Callable[[Any], int]) -> int:
        """Rows that look whether a tree is like x → the register that they take it from. leaf(part) gives those of leaves."""
        kind = type(x)
        if kind is dict and not all(type(key) in (str, int) for key in x):
            raise Unsuited
        if kind in (dict, list) or (isinstance(x, tuple) and kind.__iter__ is tuple.__iter__):
            own = self.register()
            row = self.add(jump, DICT if kind is dict else LIST if kind is list else TUPLE, own, self.object(kind), limit=limit)
            row[COUNT:LIMIT] = self.items(x, [self.look(part, jump, limit, leaf) for part in parts(x)])
            return own
        if isinstance(x, dict | list | tuple):
            raise Unsuited
        return leaf(x)

    def make(self, x: Tree, leaf: Callable[[Any], int], there: dict[int, int]) -> int:
        """Rows that make a tree like x → its register. leaf(part) gives those of leaves, `there` by id those of containers that need not be made."""
        kind = type(x)
        if id(x) in there:
            return there[id(x)]
        if not isinstance(x, dict | list | tuple):
            return leaf(x)
        if kind is tuple and not x:
            return self.register(())
        if kind not in (dict, list, tuple):
            raise Unsuited
        registers = [self.make(part, leaf, there) for part in parts(x)]
        own = self.register(owned=True)
        self.add("error", NEW_DICT if kind is dict else NEW_LIST if kind is list else NEW_TUPLE, own, 0, *self.items(x, registers))
        return own

    def call(self) -> Callable[..., Any]:
        """The function of these rows."""
        rows = np.array([[*row[:JUMP], 8 * ROW_WORDS * self.labels.get(row[JUMP], 0), 0] for row in self.rows], np.int64)
        rows[:, JUMP] += address(rows)
        generations = [None, None]
        words = [address(rows), self.words(self.registers), id(generations), 0, self.words(self.owned), len(self.owned)]
        return workers.method(CALL, 0x80, np.array([*words, *outside()], np.int64), [rows, generations, *self.kept])  # METH_FASTCALL


_message = ctypes.create_string_buffer(OUT_OF_RANGE.encode())


class Runnable(NamedTuple):
    """A program to be run, as NativeRun has planned it, while other threads of Python wait."""

    step: Any  # what workers.entry gave
    dtypes: list[Any]  # of the arrays that it takes
    captured: tuple[Any, ...]  # the last of these
    fresh: list[tuple[tuple[int, ...], Any]]  # shapes and dtypes of arrays to be made, that come after them
    results: Any  # list of pairs: for each output its place among all these, or what it is
    shared: int  # what its threads share, if there are several
    flag: Any  # an array of the byte that is set where an index is out of range, if there may be one


def bind(run: Runnable, args: tuple[Any, ...], static: frozenset[int], donate: frozenset[int], tree: Tree, weak: frozenset[int], scalars: frozenset[int]) -> Any:
    """call(*args) for arguments like these, of which some are static and some donated; None where Python must do it.

    tree: the result's, with the numbers of outputs as leaves, of which `weak` are Python numbers and `scalars` NumPy's.
    """
    captured, inputs = run.captured, len(run.dtypes)
    slots = iter(range(inputs - len(captured)))  # of the arguments' arrays
    dtypes = [*run.dtypes, *(dtype for _, dtype in run.fresh)]
    rows = Rows(len(dtypes))
    rows.kept += [run, tree, dtypes]
    numbers: set[int] = set()  # places of arrays that hold the numbers among the arguments
    given: set[int] = set()  # places of what is donated

    def same(x: Any) -> int:
        own = rows.register()
        rows.add("unknown", SAME, own, rows.object(x), count=int(type(x) in (str, int, bool) or (type(x) is float and bool(x))))  # 0.0 is not −0.0
        return own

    def number(x: float) -> int:
        own, slot, kind = rows.register(), next(slots), type(x)
        held = np.zeros((), "int64" if kind is int else "float64")
        if dtypes[slot] is not held.dtype:
            raise Unsuited
        numbers.add(slot)
        rows.registers[slot] = rows.object(held)
        rows.add("unknown", INT if kind is int else FLOAT, own, id(kind), table=address(held))
        return own

    def argument(x: Any, donated: bool) -> int:
        if type(x) in (int, float):
            return number(x)
        if not isinstance(x, np.ndarray | np.generic):
            return same(x)
        if type(x) is not np.ndarray:
            raise Unsuited
        slot = next(slots)
        if donated:
            given.add(slot)
        rows.add("unknown", ARRAY, slot, count=x.ndim, table=rows.words(x.shape))
        return slot

    def place_of(x: int | None) -> int:
        """The register of a leaf of the result that is an array or a constant."""
        place, constant = (None, None) if x is None else run.results[x]
        return rows.register(constant) if place is None else place

    def output(x: int | None) -> int:
        place = place_of(x)
        if x in weak or x in scalars:
            kind, own = dtypes[place].name, rows.register(owned=True)
            if x in weak and kind not in ("int64", "float64"):
                raise Unsuited
            rows.add("error", SCALAR if x not in weak else FROM_INT if kind == "int64" else FROM_FLOAT, own, place, table=id(dtypes[place]))
            return own
        if place in numbers:
            raise Unsuited
        return place

    def held(x: Tree) -> bool:
        """Whether a container has only donated arrays, and constants."""
        if isinstance(x, dict | list | tuple):
            return type(x) in (dict, list, tuple) and x != () and all(map(held, parts(x)))
        place = None if x is None else run.results[x][0]
        return place is None or (place in given and x not in scalars and x not in weak)

    def again(x: Tree) -> list[Tree]:
        """The containers in a tree to be given out again: the greatest that are held."""
        if not isinstance(x, dict | list | tuple):
            return []
        return [x] if held(x) else [y for part in parts(x) for y in again(part)]

    def finish(there: dict[int, int], anew: list[Tree]) -> None:
        """Run, make those containers anew, and the result."""
        for place, (shape, dtype) in enumerate(run.fresh, inputs):
            if place in rows.owned:
                rows.add("error", EMPTY, place, id(dtype), len(shape), rows.words(shape))
        if run.shared:
            rows.add("unknown", READY, table=run.shared)
        rows.add("unknown", RUN, 0, code, 0, id(run.step.__self__))
        if run.flag is not None:
            rows.add("error", CHECK, table=address(run.flag))
        if anew:
            there = {id(x): rows.make(x, output, {}) for x in anew}
            younger = rows.register(owned=True)
            rows.add("error", NEW_LIST, younger, 0, *rows.items([], [*there.values()]))
            rows.add("error", KEEP, younger)
        rows.add("error", RETURN, rows.make(tree, output, there))

    (code,) = compiler.addresses([workers.RUN])
    try:
        start = rows.add("unknown", ARGS)
        leaves = [same if i in static else functools.partial(argument, donated=i in donate) for i in range(len(args))]
        looked = [rows.look(x, "unknown", ANY, leaf) for x, leaf in zip(args, leaves, strict=True)]
        start[COUNT:LIMIT] = rows.items((), looked)
        rows.registers[inputs - len(captured) : inputs] = map(rows.object, captured)
        arrays = {run.results[x][0] for x in trees.leaves(tree) if x not in weak and x not in scalars}
        for place, (shape, dtype) in enumerate(run.fresh, inputs):
            if place in arrays:
                rows.owned.append(place)
            else:  # it is read and not given out
                rows.registers[place] = rows.object(np.empty(shape, dtype))
        subtrees = again(tree)
        if subtrees:
            elder = rows.register()
            rows.add("anew", SPARE, elder)
            row = rows.add("anew", LIST, elder, id(list), limit=1)
            roots = [rows.look(x, "anew", 1, lambda part: ~place_of(part)) for x in subtrees]
            row[COUNT:LIMIT] = rows.items([], roots)
            finish(dict(zip(map(id, subtrees), roots, strict=True)), [])
        rows.label("anew")
        finish({}, subtrees)
    except Unsuited:
        return None
    rows.label("unknown")
    rows.add("unknown", UNKNOWN)
    rows.label("error")
    rows.add("error", ERROR)
    return rows.call()


def parts(x: Tree) -> Any:
    return x.values() if isinstance(x, dict) else x


def address(array: Any) -> int:
    return int(array.__array_interface__["data"][0])


@functools.cache
def outside() -> list[int]:
    """What PLACES names: functions and objects of Python and NumPy."""
    api = ctypes.pythonapi
    capsule = ctypes.PYFUNCTYPE(ctypes.c_void_p, ctypes.py_object, ctypes.c_char_p)(("PyCapsule_GetPointer", api))
    numpys = capsule(np._core._multiarray_umath._ARRAY_API, None) or 0  # type: ignore[attr-defined]
    functions = [ctypes.cast(getattr(api, name), ctypes.c_void_p).value or 0 for name in FUNCTIONS]
    new, scalar = (ctypes.c_int64.from_address(numpys + 8 * i).value for i in (NEW, FROM_SCALAR))
    return [*functions, id(np.ndarray), id(workers.DONE), id(NotImplemented), new, scalar, id(IndexError), ctypes.addressof(_message)]
