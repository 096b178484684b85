"""jit: trace a function of trees of arrays once, and replay it as one compiled program.

    step = jit(step, donate=(0, 1))
    params, slots = step(params, slots, x, y)

The first call with these structures, shapes and dtypes runs the function on abstract arrays; what it calls is a Program, which
the library of the arrays lowers. Later calls replay it. What the function does besides (printing, appending) happens at the
trace alone; its arguments must carry all that changes.
"""

from __future__ import annotations

import functools
import inspect
import sys
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import replace
from types import FunctionType, MethodType
from typing import Any, NamedTuple

from backends import tree
from backends.calling import is_data, python_call, unknown, written
from backends.library import NOTHING, Library, common_library, known, library_of
from backends.program import calls
from backends.program.abstract import Abstract, Spec, abstract_library, name_of
from backends.program.calls import Input
from backends.program.program import Escaped, Program, Ref, extract, spare
from backends.wrapped import users_line

Tree = Any
BINDINGS = 4  # how often functions that call one program are made
MOST = 128  # programs that one function keeps; the least recently used goes
RECENT = 4  # of these that are tried before arguments are looked up


class Compiled:
    """One program of a jitted function with what runs it, for one structure, one set of shapes and dtypes."""

    def __init__(self, program: Program, run: Any, shape: Tree, weak: frozenset[int], numbers: tuple[int, ...]):
        """run: what lowers the program. run(arrays) → outputs, and maybe run.work(arrays) → all arrays, output k at run.places[k].

        One that writes into donated memory says so by run.donated, and calls `spare` on errors that come before.

        shape: the tree that f returned, with the numbers of the outputs as leaves; weak: the outputs that are Python numbers without
        jit; numbers: the leaves of the arguments that are.
        """
        self.program, self.run, self.shape, self.weak, self.numbers = program, run, shape, weak, numbers
        self.places: list[int | None] = getattr(run, "places", None) or list(range(len(program.outputs)))
        self.execute: Callable[[list[Any]], list[Any]] = getattr(run, "work", run)
        if numbers:
            work = self.execute
            self.execute = lambda leaves: work(_as_arrays(program, leaves, numbers))
        small = {r for r in program.outputs if type(r) is Ref and program.values[r].shape == () and r not in program.inputs}
        numpys = [k for k, r in enumerate(program.outputs) if r in small and k not in program.donated] if program.library.name == "numpy" else ()
        self.scalars = frozenset(numpys)  # 0-d results are scalars of NumPy, as they are without jit, unless they took donated memory
        self.scope: dict[str, Any] = {}
        self.written = written(shape, self, self.scope)
        self.result: Callable[[list[Any]], Tree] = eval(f"lambda v: {self.written}", self.scope)
        self.calls: tuple[Callable[..., Any], Callable[..., Any]] = unknown, unknown
        self.made_by, self.left = getattr(run, "bind", None), BINDINGS

    def bind(self, args: tuple[Any, ...], static: frozenset[int], donate: frozenset[int], refused: Any) -> tuple[Callable[..., Any], Callable[..., Any]]:
        """Two ways to call(*args) → the result for arguments like these, NotImplemented for others: the second is for what the first refuses.

        run.bind, where it is, may make the first: a lowering can look at trees and build them faster than Python does. Made anew a few times
        where they have refused arguments of this program: a NumPy scalar may have become an array, another constant may be equal.
        """
        make = getattr(self.run, "bind", None)
        if self.made_by is not make:  # the lowering has planned anew
            self.made_by, self.left = make, BINDINGS
        if self.left == BINDINGS or (self.left and refused is self.calls[0]):
            fast = make and make(args, static, donate, self.shape, self.weak, self.scalars)
            if fast and self.left == BINDINGS:
                self.calls = fast, unknown
            else:
                slow = python_call(self, args, static)
                self.calls = (fast, slow) if fast else (slow, unknown)
            self.left -= 1
        return self.calls

    def explain(self) -> str:
        """Which lowering runs the program, and why not a faster one."""
        say = getattr(self.run, "explain", None)
        return str(say()) if say else "replay: each instruction by the library's own function"


class Arguments(NamedTuple):
    """Some of the arguments of a function, however they are handed over."""

    places: frozenset[int]
    names: frozenset[str]


class Jitted:
    """A function under jit. `traces` counts how often it was traced, `programs` are the programs it has."""

    def __init__(self, f: Callable[..., Any], donate: Any, static: Any, check: bool, lowering: str | None):
        self.f, self.check, self.lowering = f, check, lowering
        self.options = {"donate": donate, "static": static, "check": check, "lowering": lowering}
        functools.update_wrapper(self, f, updated=())
        self.donate = _chosen(f, donate, "donate")
        self.static = _chosen(f, static, "static")
        if (both := self.donate.places & self.static.places) or self.donate.names & self.static.names:
            raise ValueError(f"jit: argument {min(both, default='')} is donated and static; an array is donated, a static argument is none")
        self.traces = 0
        self._quick: Callable[..., Any] = unknown  # what did the last call, for arguments like those
        self._second: Callable[..., Any] = unknown  # and for those that it refuses, like arrays that must be copied first
        self._recent: tuple[Compiled, ...] = ()  # programs that were looked up lately
        self._named: tuple[tuple[str, ...], Callable[..., Any], Callable[..., Any]] = (), unknown, unknown  # the same of calls with these names
        self._compiled: OrderedDict[Any, Compiled] = OrderedDict()
        self._lock = threading.RLock()

    def __repr__(self) -> str:
        return f"jit({getattr(self.f, '__name__', self.f)!s})"

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        return self if instance is None else MethodType(self, instance)

    def __reduce__(self) -> Any:
        """A function of a module goes by its name; another is put under jit anew: programs do not travel."""
        name = getattr(self, "__qualname__", "")
        found: Any = sys.modules.get(getattr(self, "__module__", ""))
        for part in name.split("."):
            found = getattr(found, part, None)
        return name if found is self else (functools.partial(jit, **self.options), (self.f,))

    @property
    def programs(self) -> list[Program]:
        """The programs traced so far, oldest use first."""
        return [made.program for made in self._compiled.values()]

    def explain(self) -> str:
        """For each program: which lowering runs it, and why not a faster one."""
        return "\n\n".join(made.explain() for made in self._compiled.values()) or f"{self!r} was not called yet: it has no program"

    def spares(self, error: BaseException) -> bool:
        """Whether all that was donated to the call that raised this error is as it was before."""
        return getattr(error, "spared", False) or not any(getattr(made.run, "donated", ()) for made in self._compiled.values())

    def trace(self, *args: Any, **kwargs: Any) -> Program:
        """The program for arguments like these; nothing is computed. A backends.Spec stands for an array of its shape and dtype."""
        leaves = tree.leaves([x for x, static, _ in self._told(args, kwargs) if not static])
        if any(isinstance(x, Spec) for x in leaves):
            arrays = [x for x in leaves if is_data(x)]
            return self._trace(args, kwargs, common_library(*arrays) if arrays else known("numpy"))[0]
        made = self._find(args, kwargs)[0]
        if made is None:
            raise TypeError(f"{self!r}.trace: there is no array with data among the arguments")
        return made.program

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if not kwargs:
            quick = self._quick
            if (result := quick(*args)) is not NotImplemented or (result := self._second(*args)) is not NotImplemented:
                return result
            for made in self._recent:  # shapes that take turns
                if made.calls[0] is not quick and (result := made.calls[0](*args)) is not NotImplemented:
                    self._quick, self._second = made.calls
                    return result
        else:
            names, quick, second = self._named
            if tuple(kwargs) == names:
                values = *args, *kwargs.values()
                if (result := quick(*values)) is not NotImplemented or (result := second(*values)) is not NotImplemented:
                    return result
        found, leaves = self._find(args, kwargs)
        if found is None:  # no arrays, or traced ones: then another trace is under way, and this function is a part of it
            return self.f(*args, **kwargs)
        if self.check:
            return self._checked(found, leaves, args, kwargs)
        result = found.result(found.execute(leaves))
        told = self._told(args, kwargs)
        static, donate = (frozenset(i for i, one in enumerate(told) if one[k]) for k in (1, 2))
        calls = found.bind(tuple(x for x, *_ in told), static, donate, quick)
        if kwargs:
            self._named = tuple(kwargs), *calls
        else:
            self._quick, self._second = calls
            self._recent = (found, *(made for made in self._recent if made is not found))[:RECENT]
        return result

    def _told(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[tuple[Any, bool, bool]]:
        """(argument, whether it is static, whether it is donated) for each."""
        placed = [(x, i in self.static.places, i in self.donate.places) for i, x in enumerate(args)]
        return placed + [(x, name in self.static.names, name in self.donate.names) for name, x in kwargs.items()]

    def _find(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Compiled | None, list[Any]]:
        leaves: list[Any] = []
        key: list[Any] = []
        static = self.static
        try:
            for i, x in enumerate(args):
                if i in static.places:
                    key.append(_exact(x))
                else:
                    _flatten(x, leaves, key)
            for name, x in kwargs.items():
                key += _BY_NAME, name
                if name in static.names:
                    key.append(_exact(x))
                else:
                    _flatten(x, leaves, key)
            found = tuple(key)
            made = self._compiled.get(found)
        except _Transparent:
            return None, leaves
        except TypeError as error:
            raise TypeError(f"{self!r}: an argument that is no array is part of the program, so it must be hashable: {error}") from None
        if made is None:
            try:
                made = self._compile(found, args, kwargs, leaves)
            except BaseException as error:
                spare(error)
                raise
        elif len(self._compiled) > 1:
            try:
                self._compiled.move_to_end(found)
            except KeyError:  # another thread dropped it just now
                pass
        return made, leaves

    def _compile(self, key: Any, args: tuple[Any, ...], kwargs: dict[str, Any], leaves: list[Any]) -> Compiled | None:
        library = common_library(*(x for x in leaves if type(x) not in (int, float)))
        if library is NOTHING or library.rank or calls.under_way():
            return None
        with self._lock:
            if key in self._compiled:
                return self._compiled[key]
            self.traces += 1
            program, shape, weak = self._trace(args, kwargs, library)
            numbers = tuple(k for k, x in enumerate(leaves) if type(x) in (int, float))
            made = Compiled(program, library.lower(program, self.lowering), shape, weak, numbers)
            self._compiled[key] = made
            if len(self._compiled) > MOST:
                self._compiled.popitem(last=False)
        return made

    def _trace(self, args: tuple[Any, ...], kwargs: dict[str, Any], library: Library) -> tuple[Program, Tree, frozenset[int]]:
        """Run f on abstract arrays like these: its program, the tree that f returned with the numbers of the outputs as leaves, and which are weak."""
        told = self._told(args, kwargs)
        names = [*_argument_names(self.f, args), *kwargs]
        device = next((library.device_of(x) for x in tree.leaves([x for x, static, _ in told if not static]) if is_data(x)), None)

        def run(locate: bool = False) -> tuple[Tree, Program, list[int], list[Any]]:
            inputs: list[Any] = []
            free: list[int] = []  # places of what is donated
            lifted = [x if static else _lift(x, name, library, device, inputs, free if donated else None) for (x, static, donated), name in zip(told, names, strict=True)]
            entered = [x.origin for x in inputs]  # before f rebinds what it was given: x += 1
            with calls.tracing(locate):
                y = self.f(*lifted[: len(args)], **dict(zip(kwargs, lifted[len(args) :], strict=True)))
                outputs = [_result(x, library) for x in tree.leaves(y)]
            return y, extract(outputs, entered, library, device)[0], free, outputs

        try:
            y, program, free, outputs = run()
        except Escaped:
            run(locate=True)  # this time it knows at which line
            raise
        weak = frozenset(k for k, x in enumerate(outputs) if getattr(x, "weak", None) is not None)
        return replace(program, donated=_donations(program, free)), tree.fill(y, range(len(outputs))), weak

    def _checked(self, made: Compiled, leaves: list[Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """The result, after a comparison with the function itself. AssertionError names the first instruction that differs."""
        own_args, own_kwargs = tree.map(lambda x: _copy(x) if is_data(x) else x, (args, kwargs))  # f may write to what it is given
        expected = tree.leaves(self.f(*own_args, **own_kwargs))
        copies = [_copy(x) for x in leaves]
        difference = first_difference(made.program, _as_arrays(made.program, copies, made.numbers), expected, self.lowering)
        if difference:
            raise AssertionError(f"{self!r}: {difference}")
        return made.result(made.execute(leaves))


def jit(
    f: Callable[..., Any] | None = None, *, donate: Any = (), static: Any = (), check: bool = False, lowering: str | None = None
) -> Any:  # fmt: skip
    """f, traced once for each structure, shapes and dtypes of its arguments, and replayed as one compiled program.

    f: a function of trees (dicts, lists, tuples) of arrays and Python numbers, to trees. It must be pure: what is no array
    and no number (strings, booleans, None, functions) is part of the program and must be hashable. Arrays that f closes
    over are read at each call.
    donate: the arguments, by position or name, whose memory the result may take: their arrays are dead after the call.
    static: arguments that are no arrays; each value has its own program.
    A method's self is static: what its attributes say is read at the trace, and it lives as long as its programs.
    check=True: f itself runs beside the program, and AssertionError names the first instruction that differs.
    lowering: None takes the fastest that can be had; a name ("native", "numpy", "replay") takes that one or raises. What the native one has no
    kernel for (sorting, linear algebra), NumPy does between its kernels; explain() names it.
    A program may give no warnings where f would (the native lowering gives none), and computes 0-d numbers in double precision
    where it can, so that an intermediate one may stay finite that would overflow in float32. Which of two zeros is the largest or the
    least of several numbers, and which integers are made of floats beyond their range, is left open. In a convolution of the NumPy
    lowering what is infinite or NaN may spoil its neighbours, too.
    Called inside a gradient or another jit, f just runs, and becomes a part of that.

        step.traces        how often it was traced           step.trace(*args)     the Program; print it
        step.programs      its programs                      step.explain()        which lowering runs them, and why
        step.spares(error) whether a call that raised it left what was donated as it was
    """
    if f is None:
        return functools.partial(jit, donate=donate, static=static, check=check, lowering=lowering)
    if not callable(f):
        raise TypeError(f"jit takes a function, {type(f).__name__} came")
    return Jitted(f, donate, static, check, lowering)


def _lift(x: Tree, name: str, library: Library, device: Any, inputs: list[Any], free: list[int] | None) -> Tree:
    """An argument with abstract arrays for its arrays and numbers, which are added to `inputs`; the places of its arrays to `free`."""
    cls = abstract_library(library).array  # type: ignore[attr-defined]

    def one(leaf: Any, path: str) -> Any:
        full = f"{name}/{path}" if path else name
        kind = type(leaf)
        if kind in (int, float):
            dtype = cls.default_int if kind is int else cls.default_float
            y = cls((), dtype, device, Input(full, (), dtype), kind)
        elif isinstance(leaf, Spec):
            y = cls(leaf.shape, leaf.dtype, device, Input(full, leaf.shape, leaf.dtype))
        elif is_data(leaf):
            try:
                library.admit(leaf)
                shape, dtype = tuple(leaf.shape), name_of(leaf.dtype)
            except TypeError as error:
                raise TypeError(f"jit: {full}: {error}") from None
            y = cls(shape, dtype, library.device_of(leaf), Input(full, shape, dtype))
            if free is not None:
                free.append(len(inputs))
        else:
            return leaf
        inputs.append(y)
        return y

    return tree.fill(x, [one(leaf, path) for leaf, path in zip(tree.leaves(x), tree.paths(x), strict=True)])


def _result(x: Any, library: Library) -> Any:
    """A leaf of what f returned: an array with data is read at each call, as what f closes over is. TypeError for what hides arrays."""
    if isinstance(x, Abstract):
        return x
    if is_data(x):
        own = library_of(x) is library
        return abstract_library(library).xp.asarray(x, copy=True) if own else x
    hidden = vars(x).values() if hasattr(x, "__dict__") and not isinstance(x, type) else x if isinstance(x, set | frozenset) else ()
    if isinstance(x, FunctionType | MethodType | Iterator) or any(isinstance(part, Abstract) for part in hidden):
        raise TypeError(f"a function under jit returns trees (dicts, lists, tuples) of arrays and constants; {type(x).__name__} came. Return the arrays that it holds.")
    return x


def _donations(program: Program, given_up: list[int]) -> dict[int, int]:
    """Each output that is computed takes the first donated input left of its shape and dtype."""
    kept = {y for y in program.outputs if type(y) is Ref}
    free = [place for place in given_up if program.inputs[place] not in kept]
    made = {out for i in program.body for out in i.outs}
    donated: dict[int, int] = {}
    taken: set[int] = set()
    for k, y in enumerate(program.outputs):
        if type(y) is not Ref or y not in made or y in taken:
            continue
        taken.add(y)
        for place in free:
            if program.values[program.inputs[place]] == program.values[y]:
                donated[k] = place
                free.remove(place)
                break
    return donated


_BY_NAME = object()  # in a key: the next argument came by name


def _exact(x: Any) -> Any:
    """x as a part of a key, which tells 1 from 1.0, True and an enumeration's 1, and −0.0 from 0.0."""
    kind = type(x)
    if isinstance(x, tuple):
        return kind, tuple(map(_exact, x))
    return kind, repr(x) if kind in (float, complex) else x


class _Transparent(Exception):
    """A traced or abstract array is among the arguments."""


def _flatten(x: Any, leaves: list[Any], key: list[Any]) -> None:
    """The leaves that are arrays or numbers, and what tells programs apart: containers, shapes and dtypes, other values."""
    kind = type(x)
    if kind is dict:
        key.append(tuple(x))
        for part in x.values():
            _flatten(part, leaves, key)
    elif kind is list or kind is tuple:
        key.append((kind, len(x)))
        for part in x:
            _flatten(part, leaves, key)
    elif kind is int or kind is float:
        leaves.append(x)
        key.append(kind)
    elif x is None or kind is bool or kind is str:
        key.append(x)
    elif isinstance(x, dict | list | tuple):
        key.append((kind, tuple(x) if isinstance(x, dict) else len(x)))
        for part in x.values() if isinstance(x, dict) else x:
            _flatten(part, leaves, key)
    else:
        try:
            library = library_of(x)
        except TypeError:
            library = NOTHING
        if library is NOTHING:
            key.append(_exact(x))
            return
        if library.rank:
            raise _Transparent
        leaves.append(x)
        key.append((library, x.shape, x.dtype, library.place_of(x)))


def _as_arrays(program: Program, leaves: list[Any], numbers: tuple[int, ...]) -> list[Any]:
    leaves = list(leaves)
    for k in numbers:
        s = program.values[program.inputs[k]]
        leaves[k] = program.library.scalar(leaves[k], s.dtype, program.device)
    return leaves


def first_difference(program: Program, arrays: list[Any], expected: list[Any] | None = None, lowering: str | None = None) -> str:
    """Where the lowering of a program and its meaning part, in words; "" where they agree to rounding."""
    from backends.program.show import formula

    library = program.library
    made = [out for i in program.body for out in i.outs]
    opened = replace(program, outputs=tuple(made), donated={})
    meant = opened.run([_copy(x) for x in arrays])
    found = library.lower(opened, lowering)([_copy(x) for x in arrays])
    for i in program.body:
        for out in i.outs:
            k = made.index(out)
            if worst := _apart(library, meant[k], found[k]):
                return f"{formula(program, i)} = {program.values[out]} differs by {worst:.3g} from its meaning; the lowering is {library.name}"
    if expected is not None:
        for k, (a, b) in enumerate(zip(program.run([_copy(x) for x in arrays]), expected, strict=True)):
            if hasattr(b, "dtype") and (worst := _apart(library, a, b)):
                return f"output {k} differs by {worst:.3g} from the function run eagerly: it is not pure, or depends on values (at {users_line()[0]})"
    return ""


def _apart(library: Library, a: Any, b: Any) -> float:
    """The largest difference relative to the largest entry, 0 where it is rounding."""
    host = known("numpy").xp
    a, b = host.asarray(library.fetch(a)), host.asarray(library.fetch(b))
    if a.shape != b.shape or a.dtype != b.dtype:
        return float("inf")
    if a.size == 0 or a.dtype.kind not in "fc":
        return 0.0 if bool((a == b).all()) else float("inf")
    both = host.isfinite(a) & host.isfinite(b)
    if not bool(((a == b) | both | (host.isnan(a) & host.isnan(b))).all()):
        return float("inf")
    a, b = host.where(both, a, 0), host.where(both, b, 0)
    scale = float(host.abs(a).max()) or 1.0
    worst = float(host.abs(a - b).max()) / scale
    return worst if worst > (1e-12 if a.dtype.itemsize >= 8 else 2e-4) else 0.0


def _copy(x: Any) -> Any:
    return x if type(x) in (int, float) else library_of(x).xp.asarray(x, copy=True)


def _chosen(f: Any, given: Any, what: str) -> Arguments:
    """Arguments given by position or name, by both."""
    listed = () if given is None else (given,) if isinstance(given, int | str) else tuple(given)
    try:
        parameters = list(inspect.signature(f).parameters.values())
    except (TypeError, ValueError):  # a builtin: its parameters are not known
        parameters = []
    places, names = set[int](), set[str]()
    open_ = not parameters or any(p.kind is p.VAR_POSITIONAL for p in parameters)
    named = {p.name: p for p in parameters if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)}
    placed = [p.name for p in named.values() if p.kind is not p.KEYWORD_ONLY]
    for c in listed:
        if isinstance(c, str) and (c in named or not parameters):
            names.add(c)
            places.update([placed.index(c)] if c in placed else [])
        elif type(c) is int and c >= 0 and (c < len(placed) or open_):
            places.add(c)
            names.update(placed[c : c + 1])
        else:
            raise ValueError(f"jit: {what} names {c!r}; the parameters are {', '.join(named)}: {what} takes their names, or positions from 0")
    return Arguments(frozenset(places), frozenset(names))


def _argument_names(f: Any, args: tuple[Any, ...]) -> list[str]:
    try:
        names = [p.name for p in inspect.signature(f).parameters.values() if p.kind is not p.VAR_POSITIONAL]
    except (TypeError, ValueError):
        names = []
    return [*names[: len(args)], *(f"argument {i}" for i in range(len(names), len(args)))]


__all__ = ["Abstract", "Compiled", "Jitted", "first_difference", "jit"]
