"""Our own threads: a program is a row of phases, each of tasks that do not touch one another; threads take tasks as they come.

    pool(n).run(program, arrays)        program: the function that `entry` makes of its words, see `Run`

A task is a list of kernels. The thread that calls takes part, and what a worker has not begun, because another process has its core, the caller does
itself: it waits for tasks under way alone. The thread that ends the last task of a phase opens the next one. Workers live as long as the process;
they wait for a phase (spinning a millisecond, then asleep), and touch nothing of a program before they hold a task of it.
"""

from __future__ import annotations

import ctypes
import os
import platform
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from backends.library import known
from backends.native import compile as compiler
from backends.native.blas import Blas
from backends.native.emit import Function, Value, Variable

SPIN = 1_000_000  # nanoseconds that a worker waits awake
PAUSES = 2000  # before a waiting thread yields its core
TASKS = 32  # in a phase, at most

# words of what the threads of a pool share, on cache lines of their own. CLAIM: in its lower half a bit for each task, 1 once it is taken, in its
# upper half how many phases there have been; PHASE, the phase; LEFT, the tasks of it that are not done; FINISHED, whether all phases are; CORE, where the
# caller runs; CLASH, whether a worker found itself there; BUSY, whether a program may be under way or there are no threads yet
CLAIM, PHASE, LEFT, FINISHED, GENERATION, SLEEPERS, CORE, CLASH, BUSY, MUTEX, CONDITION, SHARED_WORDS = 0, 8, 16, 24, 32, 40, 41, 42, 43, 48, 56, 64
COUNT, MASK, TASK = range(3)  # words of a phase: its tasks, the bits that are no tasks, lists; 0 tasks after the last phase


def pause(f: Function) -> None:
    """Tells the core that this is a waiting loop."""
    if platform.machine().lower() in ("x86_64", "amd64"):
        f.call("llvm.x86.sse2.pause", [], None)
    elif platform.machine().lower() in ("aarch64", "arm64"):
        f.call("llvm.aarch64.hint", [f.constant(1, "int32")], None)


def word(f: Function, shared: Value, i: int) -> Value:
    return f.at(shared, i, "int64")


def walk(f: Function, list_: Value) -> None:
    """The kernels of a list: pairs of a function and its table, closed by 0."""
    place = Variable(f, "int64")
    place.set(list_)
    with f.forever() as leave:
        here = f.pointer(place.get())
        kernel = f.load(here, 0, "int64")
        leave(kernel.eq(0))
        f.call(f.pointer(kernel).text, [f.pointer(f.load(here, 1, "int64"))], None)
        place.set(place.get() + 16)


def take_part(f: Function, shared: Value, number: Value, size: Value) -> None:
    """Do tasks until none is left to take: that of one's own number first, whose data are near. size: bytes of a phase."""
    claim, left = word(f, shared, CLAIM), word(f, shared, LEFT)
    with f.forever() as leave:
        seen = f.atomic("load", claim)
        free = ~seen & (1 << TASKS) - 1
        leave(free.eq(0))
        own = f.constant(1, "int64") << number
        bit = f.select((free & own).ne(0), own, free & -free)
        with f.when(f.swap(claim, seen, seen | bit)):
            if sys.platform == "linux":
                core, own_core = word(f, shared, CORE), f.cast(f.call("sched_getcpu", [], "int32"), "int64")
                f.store(f.select(number.eq(0), core, word(f, shared, CLASH)), 0, f.select(number.eq(0), own_core, f.cast(own_core.eq(f.load(core, 0, "int64")), "int64")))
            phase = f.load(word(f, shared, PHASE), 0, "int64")
            place = f.call("llvm.cttz.i64", [bit, f.constant(False, "bool")], "int64")
            walk(f, f.load(f.pointer(phase), place + TASK, "int64"))
            with f.when(f.atomic("add", left, -1).eq(1)):
                open_phase(f, shared, phase + size, size)


def open_phase(f: Function, shared: Value, first: Value, size: Value) -> None:
    """Let the threads have this phase, when phases of one task before it are done; or say that all is finished."""
    phase = Variable(f, "int64")
    phase.set(first)
    with f.forever() as leave:
        here = f.pointer(phase.get())
        leave(f.load(here, COUNT, "int64").ne(1))
        walk(f, f.load(here, TASK, "int64"))
        phase.set(phase.get() + size)
    count, mask = (f.load(f.pointer(phase.get()), i, "int64") for i in (COUNT, MASK))
    with f.when(count.eq(0)):
        f.atomic("store", word(f, shared, FINISHED), 1)
    with f.when(count.ne(0)):
        claim = word(f, shared, CLAIM)
        f.store(word(f, shared, PHASE), 0, phase.get())
        f.atomic("store", word(f, shared, LEFT), count)
        f.atomic("store", claim, (f.atomic("load", claim) >> TASKS) + 1 << TASKS | mask)
        with f.when(f.atomic("load", word(f, shared, SLEEPERS)).gt(0)):
            mutex, condition = word(f, shared, MUTEX), word(f, shared, CONDITION)
            f.call("pthread_mutex_lock", [mutex], "int32")
            f.atomic("add", word(f, shared, GENERATION), 1)
            f.call("pthread_cond_broadcast", [condition], "int32")
            f.call("pthread_mutex_unlock", [mutex], "int32")


@dataclass(frozen=True)
class Worker:
    """void(table): serve forever.      table: what the threads share, the number of this thread, bytes of a phase."""

    def function(self, name: str) -> Function:
        f = Function(name, ["ptr"])
        shared, number, size = f.pointer(f.word(0)), f.word(1), f.word(2)
        claim, generation, sleepers = (word(f, shared, i) for i in (CLAIM, GENERATION, SLEEPERS))
        mutex, condition = word(f, shared, MUTEX), word(f, shared, CONDITION)
        clock, until = f.slot("int64", count=2), Variable(f, "int64")

        def now() -> Value:
            f.call("clock_gettime", [f.constant(1, "int32"), clock], "int32")  # CLOCK_MONOTONIC, of Linux
            return f.load(clock, 0, "int64") * 1_000_000_000 + f.load(clock, 1, "int64")

        def open_() -> Value:
            return (~f.atomic("load", claim) & (1 << TASKS) - 1).ne(0)

        with f.forever():
            until.set(now() + SPIN)
            with f.forever() as leave:
                with f.loop(0, 64):
                    leave(open_())
                    pause(f)
                with f.when(now().gt(until.get())):
                    f.call("pthread_mutex_lock", [mutex], "int32")
                    seen = f.atomic("load", generation)
                    f.atomic("add", sleepers, 1)
                    with f.forever() as wake:
                        wake(open_() | f.atomic("load", generation).ne(seen))
                        f.call("pthread_cond_wait", [condition, mutex], "int32")
                    f.atomic("add", sleepers, -1)
                    f.call("pthread_mutex_unlock", [mutex], "int32")
                    until.set(now() + SPIN)
            take_part(f, shared, number, size)
        f.line("unreachable")
        return f


# words of a program, and of one of its slots
SHARED, THREADS, PLANNED, GETTER, SETTER, HELD, PATCHES, PATCH, SLOTS, SLOT, ARRAY, SAVE, RESTORE, INCREF, SAYS, FIRST = (*range(15), 17)
DTYPE, FLAGS, BYTES, DONATED, LAST, SLOT_WORDS = range(6)
DONE, OTHER_THREADS, UNFIT = None, False, True  # what a run says


@dataclass(frozen=True)
class Run:
    """PyObject*(program, list): look at the arrays of the list, bind them, walk. A function of Python whose self is the array of the program's words.

    DONE; or nothing done: OTHER_THREADS, the BLAS has not the number of threads that was planned for; UNFIT, an array is not as its slot says.
    program: SHARED by the pool; THREADS, all of the pool or 1; PLANNED, the number that GETTER of the BLAS must give (all 0: it cannot be asked), which
    is held at 1 by SETTER while any program runs (how many do, stands in HELD); PATCHES triples from PATCH on: an address, which receives (data of array `slot`) + offset; SLOTS from SLOT on:
    the dtype object of an array, FLAGS that it must have, its BYTES, whether it is DONATED and so must not overlap another, where it lay LAST; ARRAY,
    the class of arrays; SAVE and RESTORE of the thread state (0: other Python threads wait, which is cheaper for a short program); INCREF; what it SAYS,
    three objects; FIRST, its first phase, or where there is one thread its list.
    """

    head: int  # bytes of a Python object before what is its own

    def function(self, name: str) -> Function:
        f = Function(name, ["ptr", "ptr"], "ptr")
        program, objects = f.pointer(f.load(f.parameters[0], self.head // 8, "int64")), f.parameters[1]
        words = [f.load(program, i, "int64") for i in range(SAYS)]
        shared, threads, planned, getter, setter, held, patches, patch, slots, slot, kind, save, restore, incref = words
        items, shared, held, patch, slot = (f.pointer(x) for x in (f.load(objects, self.head // 8 + 1, "int64"), shared, held, patch, slot))
        done, other_threads, unfit = (f.constant(i, "int64") for i in range(3))
        says = Variable(f, "int64")
        says.set(done)

        def field(i: Value, what: int) -> Value:
            return f.load(slot, i * SLOT_WORDS + what, "int64")

        def data(i: Value) -> Value:
            return f.load(f.pointer(f.load(items, i, "int64")), self.head // 8, "int64")

        with f.when(getter.ne(0)):
            given = f.cast(f.call(f.pointer(getter).text, [], "int32"), "int64")
            says.set(f.select(given.eq(planned) | f.atomic("load", held).gt(0), done, other_threads))
        moved = Variable(f, "bool")
        moved.set(f.constant(False, "bool"))
        with f.loop(0, slots) as i:
            array = f.pointer(f.load(items, i, "int64"))
            right = f.load(array, self.head // 8 - 1, "int64").eq(kind)
            with f.when(~right):
                says.set(unfit)
            with f.when(right):
                flags, needed = f.cast(f.load(array, self.head // 4 + 12, "int32"), "int64"), field(i, FLAGS)
                fits = f.load(array, self.head // 8 + 5, "int64").eq(field(i, DTYPE)) & (flags & needed).eq(needed)
                says.set(f.select(fits, says.get(), unfit))
                moved.set(moved.get() | data(i).ne(field(i, LAST)))
        with f.when(moved.get() & says.get().eq(done)), f.loop(0, slots) as i:
            with f.when(field(i, DONATED).ne(0)), f.loop(0, slots) as j:
                meets = i.ne(j) & f.intrinsic("smax", data(i), data(j)).lt(f.intrinsic("smin", data(i) + field(i, BYTES), data(j) + field(j, BYTES)))
                says.set(f.select(meets, unfit, says.get()))
            f.store(slot, i * SLOT_WORDS + LAST, f.select(says.get().eq(done), data(i), 0))
        with f.when(says.get().eq(done)):
            with f.loop(0, patches) as i:
                address, which, offset = (f.load(patch, i * 3 + j, "int64") for j in range(3))
                f.store(f.pointer(address), 0, data(which) + offset)
            state = Variable(f, "ptr")
            with f.when(save.ne(0)):
                state.set(f.call(f.pointer(save).text, [], "ptr"))
            with f.when(planned.gt(1)):
                f.atomic("add", held, 1)
                f.call(f.pointer(setter).text, [f.constant(1, "int32")], None)
            first = f.load(program, FIRST, "int64")
            with f.when(threads.eq(1)):
                walk(f, first)
            with f.when(threads.gt(1)):
                size, finished = (threads + TASK) * 8, word(f, shared, FINISHED)
                f.atomic("store", finished, 0)
                open_phase(f, shared, first, size)
                with f.forever() as leave:
                    take_part(f, shared, f.constant(0, "int64"), size)
                    with f.loop(0, PAUSES):
                        leave(f.atomic("load", finished).ne(0))
                        again = (~f.atomic("load", word(f, shared, CLAIM)) & (1 << TASKS) - 1).ne(0)
                        pause(f)
                        with f.when(again):
                            take_part(f, shared, f.constant(0, "int64"), size)
                    f.call("sched_yield", [], "int32")
            with f.when(planned.gt(1)), f.when(f.atomic("add", held, -1).eq(1)):
                f.call(f.pointer(setter).text, [f.cast(planned, "int32")], None)
            with f.when(save.ne(0)):
                f.call(f.pointer(restore).text, [state.get()], None)
        result = f.pointer(f.load(program, says.get() + SAYS, "int64"))
        f.call(f.pointer(incref).text, [result], None)
        f.done(result)
        return f


def programs_under_way() -> int:
    """How many hold the BLAS at one thread."""
    return _held[0]


RUN = Run(object.__basicsize__)
_held = (ctypes.c_int64 * 1)()  # how many programs hold the BLAS at one thread
_methods: dict[Any, tuple[Any, Any]] = {}  # live as long as the process


class Words(known("numpy").xp.ndarray):  # type: ignore[name-defined,misc]
    """The words of a program or a call; `kept` holds what they point to, for as long as it can be called."""

    kept: Any = None


def method(kernel: compiler.Kernel, flags: int, words: Any, kept: Any) -> Callable[..., Any]:
    """The function of Python that is this code, a PyCFunction of these flags. Its self is an array of int64; it keeps alive what they point to."""
    if kernel not in _methods:
        (code,) = compiler.addresses([kernel])
        name = ctypes.create_string_buffer(type(kernel).__name__.lower().encode())
        _methods[kernel] = (ctypes.c_int64 * 4)(ctypes.addressof(name), code, flags, 0), name  # a PyMethodDef
    words = words.view(Words)
    words.kept = kept
    make = ctypes.pythonapi.PyCFunction_NewEx
    make.restype = ctypes.py_object
    return make(ctypes.byref(_methods[kernel][0]), ctypes.py_object(words), None)  # type: ignore[no-any-return]


def entry(words: Any, kept: Any) -> Callable[[list[Any]], Any]:
    """The function that runs the program of these words."""
    return method(RUN, 0x8, words, kept)  # METH_O


def blas_words(blas: Blas) -> list[int]:
    """The words of a program from PLANNED on."""
    return [blas.threads, blas.get, blas.set, ctypes.addressof(_held)]


def python_words(brief: bool) -> list[int]:
    """The words of a program from ARRAY on."""
    api = ctypes.pythonapi
    address = lambda f: ctypes.cast(f, ctypes.c_void_p).value or 0  # noqa: E731
    state = [0, 0] if brief else [address(api.PyEval_SaveThread), address(api.PyEval_RestoreThread)]
    return [id(known("numpy").xp.ndarray), *state, address(api.Py_IncRef), id(DONE), id(OTHER_THREADS), id(UNFIT)]


class Pool:
    """The calling thread and count − 1 workers. One program runs at a time: threads that call at once wait for each other."""

    def __init__(self, count: int):
        self.count = count
        self.memory = (ctypes.c_int64 * (SHARED_WORDS + 8))()
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(self.memory))  # never freed: workers wait there even while the interpreter ends
        self.shared = -(-ctypes.addressof(self.memory) // 64) * 64
        self.sleepers, self.clash, self.busy = (ctypes.c_int64.from_address(self.shared + 8 * i) for i in (SLEEPERS, CLASH, BUSY))
        self.tables = [(ctypes.c_int64 * 3)(self.shared, number, 8 * (count + TASK)) for number in range(count)]
        self.reset()

    def reset(self) -> None:
        """As if it had never run: also in a child process, which has the memory but none of the threads."""
        ctypes.memset(self.memory, 0, ctypes.sizeof(self.memory))
        ctypes.c_int64.from_address(self.shared + 8 * CLAIM).value = (1 << TASKS) - 1  # nothing to take
        self.busy.value = 1
        self.lock = threading.Lock()
        self.threads: list[threading.Thread] = []

    def start(self) -> None:
        library = ctypes.CDLL(None)
        library.pthread_mutex_init(ctypes.c_void_p(self.shared + 8 * MUTEX), None)
        library.pthread_cond_init(ctypes.c_void_p(self.shared + 8 * CONDITION), None)
        (worker,) = compiler.addresses([Worker()])
        serve = ctypes.CFUNCTYPE(None, ctypes.c_void_p)(worker)
        for table in self.tables[1:]:
            self.threads.append(threading.Thread(target=serve, args=(ctypes.addressof(table),), daemon=True, name="ann worker"))
            self.threads[-1].start()

    def run(self, program: Callable[[list[Any]], Any], objects: list[Any], failures: list[BaseException] | None = None) -> Any:
        """What Run says. The first of the failures that there are afterwards is raised."""
        with self.lock:
            if self.count > 1:
                if not self.threads:
                    self.start()
                if self.sleepers.value or self.clash.value:
                    self.place()
            self.busy.value = 1
            try:
                says = program(objects)
                if failures:
                    raise failures[0]
                return says
            finally:
                if failures:
                    failures.clear()
                self.busy.value = 0

    def place(self) -> None:
        """Workers go elsewhere than on the caller's core, where the system likes to wake them and where both would spin."""
        self.clash.value = 0
        if sys.platform != "linux":
            return
        cores = sorted(os.sched_getaffinity(0))
        here = ctypes.CDLL(None).sched_getcpu()
        others = [core for core in cores if core != here] or cores
        for i, thread in enumerate(self.threads):
            chosen = {others[i % len(others)]} if self.count >= len(cores) else set(others)
            try:
                os.sched_setaffinity(thread.native_id or 0, chosen)
            except OSError:  # a core that was taken away since
                pass


_pools: dict[int, Pool] = {}
_lock = threading.Lock()


def pool(count: int) -> Pool:
    """The pool of this many threads, the caller's included."""
    if count not in _pools:
        with _lock:
            if count not in _pools:
                _pools[count] = Pool(count)
    return _pools[count]


def _after_fork() -> None:
    """A child has no workers: it makes its own when it needs them."""
    global _lock
    _lock, _held[0] = threading.Lock(), 0
    for one in _pools.values():
        one.reset()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
