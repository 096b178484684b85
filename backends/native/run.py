"""A planned Program, ready to run: its memory, its tables, and what happens at a call."""

from __future__ import annotations

import ctypes
import functools
import sys
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from backends.native import call, workers
from backends.native.blas import Blas, threads
from backends.native.compile import addresses
from backends.native.convolution import direct
from backends.native.host import Host
from backends.native.memory import LINE
from backends.native.plan import WORTH, Entry, Plan
from backends.native.rewrite import stepwise, unrolled, without_empty
from backends.native.rules import RULES
from backends.native.winograd import convolved
from backends.program.passes import expand, simplify
from backends.program.program import Program

C_CONTIGUOUS, ALIGNED, WRITEABLE = 0x1, 0x100, 0x400  # NumPy's flags
BRIEF = 50e-6  # seconds: a shorter program does not let other Python threads run


class NativeRun:
    """What runs a Program as kernels around the BLAS. CannotExpress where there are none for a part of it. Calls from several threads take turns.

    count: of threads, instead of as many as the BLAS has; worth: the elements from which on a group is shared among them.
    """

    def __init__(self, program: Program, blas: Blas, count: int | None = None, worth: int = WORTH):
        simple = simplify(expand(program, RULES.__contains__))
        self.program, self.blas, self.count, self.worth = prepared(simple), blas, count, worth
        self.donated = dict(self.program.donated)
        self.failures: list[BaseException] = []  # of what NumPy did
        self.brief = simple.flops / 5e10 + simple.bytes / 1e10 < BRIEF
        self.prepare()

    def prepare(self) -> None:
        """Plan for the threads that the BLAS and the affinity allow, and lay out memory and tables."""
        plan = Plan(self.program, self.blas, self.count or threads(), self.worth)
        phases = [[entries for entries in phase if entries] for phase in plan.phases if any(phase)]
        alone = all(len(phase) == 1 for phase in phases)
        if alone:
            phases = [[[entry for phase in phases for entry in phase[0]]]]
        self.threads = 1 if alone else plan.threads
        pool = workers.pool(self.threads)
        entries = list(_all(entry for phase in phases for one in phase for entry in one))
        hosts = [entry.kernel for entry in entries if isinstance(entry.kernel, Host)]
        kernels = list(dict.fromkeys(entry.kernel for entry in entries if not isinstance(entry.kernel, Host)))
        self.brief = self.brief and not hosts
        self.by_numpy = list(dict.fromkeys(host.instruction.name for host in hosts))
        for host in hosts:
            host.failures = self.failures
        found = addresses([*kernels, workers.RUN, *([call.CALL] if self.brief else [])])  # all at once, for the cache is looked at once then
        code = dict(zip(kernels, found, strict=False)) | {host: host.address for host in hosts}
        self.kernels, self.steps, self.phases = len(kernels), len(entries), len(phases)
        memory = np.zeros(plan.arena + LINE + sum(plan.scratch) + LINE, np.uint8)
        start = -_address(memory) % LINE
        self.flag = memory[start + plan.arena :][:1] if plan.flagged else None
        starts: dict[Any, int] = {"arena": _address(memory) + start, "flag": _address(memory) + start + plan.arena, "constant": 0, "array": 0}
        scratch = starts["flag"] + LINE
        for t, size in enumerate(plan.scratch):
            starts["scratch", t] = scratch
            scratch += size
        words: list[int] = []
        patches: list[tuple[int, int, int]] = []  # (place among the words, slot, offset)
        relative: list[int] = []  # places of words that are places of others

        def written(entries: list[Entry]) -> list[tuple[int, int, Any]]:
            """(kernel, the place of its table, the same of its inner list) for each."""
            pairs = []
            for entry in entries:
                inner, list_ = written(entry.inner), len(words)
                for kernel, at, _ in inner:
                    relative.append(len(words) + 1)
                    words.extend([kernel, 8 * at])
                words.extend([0] * bool(inner))
                pairs.append((code[entry.kernel], len(words), inner))
                for word in entry.words:
                    if isinstance(word, tuple):
                        home, offset = word
                        if home.kind == "array":
                            patches.append((len(words), home.place, offset))
                        if home.kind in ("list", "inner"):
                            relative.append(len(words))
                            at = list_
                            if home.kind == "inner":
                                _, at, _ = functools.reduce(lambda one, e: one[2][e], home.place, (0, 0, inner))
                            word = 8 * (at + offset)
                        else:
                            word = offset + (starts["scratch", home.place] if home.kind == "scratch" else starts[home.kind] + home.place)
                    words.append(word)
            return pairs

        lists = [written(entries) for phase in phases for entries in phase]
        table = np.array(words or [0], np.int64)
        place = _address(table)
        table[relative] += place
        flat = [np.array([x for kernel, word, _ in one for x in (kernel, place + 8 * word)] + [0], np.int64) for one in lists]
        rows, k = np.zeros((len(phases) + 1, workers.TASK + self.threads), np.int64), 0
        for row, phase in zip(rows, phases, strict=False):
            row[: workers.TASK] = len(phase), (1 << workers.TASKS) - (1 << len(phase))
            row[workers.TASK : workers.TASK + len(phase)] = [_address(one) for one in flat[k : k + len(phase)]]
            k += len(phase)
        bound = np.array([(place + 8 * word, slot, offset) for word, slot, offset in patches] or [(0, 0, 0)], np.int64)
        given = set(self.donated.values())
        self.dtypes = [np.dtype(self.program.values[r].dtype) for r in self.program.inputs]
        slots: list[tuple[int, ...]] = [
            (id(dtype), C_CONTIGUOUS | ALIGNED | (WRITEABLE if k in given else 0), plan.grouping.bases[r].nbytes, int(k in given), 0)
            for k, (r, dtype) in enumerate(zip(self.program.inputs, self.dtypes, strict=True))
        ]
        slot = np.array(slots or [(0,) * workers.SLOT_WORDS], np.int64)
        words = [pool.shared, self.threads, *workers.blas_words(self.blas), len(patches), _address(bound), len(slots), _address(slot)]
        head = np.array([*words, *workers.python_words(self.brief), _address(flat[0]) if alone else _address(rows)], np.int64)
        self.step = workers.entry(head, [memory, table, rows, bound, slot, *flat, plan.grouping.constants, hosts])
        self.fresh = [(plan.grouping.shapes[r], np.dtype(plan.grouping.dtypes[r])) for r in plan.fresh]
        self.results = plan.results  # for each output its place among the arrays, or what it is
        self.places = [place for place, _ in self.results]
        atomic = self.brief and getattr(sys, "_is_gil_enabled", lambda: True)()  # no other Python thread can come between
        # what is called: each one object, for another thread may plan anew at any time
        self.together = self.step if atomic and self.threads == 1 else functools.partial(pool.run, self.step, failures=self.failures)
        shared = pool.shared if self.threads > 1 else 0
        runnable = call.Runnable(self.step, self.dtypes, self.program.captured, self.fresh, self.results, shared, self.flag)
        self.bind = functools.partial(call.bind, runnable) if atomic else None  # see Compiled.bind

    def __call__(self, arrays: list[Any]) -> list[Any]:
        called = self.work(arrays)
        return [called[place] if place is not None else x for place, x in self.results]

    def work(self, arrays: list[Any]) -> list[Any]:
        """All arrays of a run: the inputs, of which donated ones hold results, and fresh ones; output k is at places[k]."""
        called = [*arrays, *self.program.captured]
        for shape, dtype in self.fresh:
            called.append(np.empty(shape, dtype))
        while (says := self.together(called)) is not workers.DONE:
            if says == workers.UNFIT:
                called = self.admitted(called)
            else:
                self.prepare()
        if self.flag is not None and self.flag[0]:
            self.flag[0] = 0
            raise IndexError(call.OUT_OF_RANGE)
        return called

    def admitted(self, objects: list[Any]) -> list[Any]:
        """The arrays as the slots want them: copies of those that are not plain, in C order, or that overlap a donated one."""
        objects = list(objects)
        given = set(self.donated.values())
        for k, dtype in enumerate(self.dtypes):
            x = objects[k]
            plain = type(x) is np.ndarray and x.dtype is dtype and x.flags.c_contiguous and x.flags.aligned
            if not plain or (k in given and not x.flags.writeable):
                objects[k] = _copy(x, dtype)
        for k in given:
            for j in range(len(self.dtypes)):
                if j != k and np.may_share_memory(objects[k], objects[j]):
                    objects[j] = _copy(objects[j], self.dtypes[j])
        return objects

    def explain(self) -> str:
        threads = f"{self.threads} threads" if self.threads > 1 else "1 thread"
        others = f"; by NumPy: {', '.join(self.by_numpy)}" if self.by_numpy else ""
        return f"native: {len(self.program.body)} instructions as {self.steps} kernels ({self.kernels} different) in {self.phases} phases, {threads}{others}"


def prepared(simple: Program) -> Program:
    """A simplified program, and the steps of its scans, as loops and kernels do it best."""
    body = []
    for i in simple.body:
        if i.program is not None:
            i = replace(i, program=stepwise(prepared(simplify(expand(i.program, RULES.__contains__))), len(i.args[0])))
        body.append(i)
    return unrolled(direct(convolved(without_empty(replace(simple, body=tuple(body))))))


def _all(entries: Iterable[Entry]) -> Iterator[Entry]:
    for entry in entries:
        yield entry
        yield from _all(entry.inner)


def _address(array: Any) -> int:
    return int(array.__array_interface__["data"][0])


def _copy(x: Any, dtype: Any) -> Any:
    """A plain array with this very dtype object, which np.array would not replace by an equal one."""
    y = np.empty(np.shape(x), dtype)
    y[...] = x
    return y


def arrays_are_known() -> bool:
    """Whether arrays keep their data, dtype, flags and shape where Run and Call look for them."""
    x = np.zeros((3, 1), np.float32)
    head = id(x) + object.__basicsize__
    kind, data, shape, dtype = (ctypes.c_int64.from_address(head + 8 * k).value for k in (-1, 0, 2, 5))
    dimensions, flags = (ctypes.c_int32.from_address(head + k).value for k in (8, 48))
    if (kind, data, dtype, dimensions, flags) != (id(np.ndarray), _address(x), id(x.dtype), x.ndim, x.flags.num):
        return False
    return ctypes.c_int64.from_address(shape).value == 3
