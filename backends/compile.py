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
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from backends import tree
from backends.library import NOTHING, Library, common_library, known, library_of
from backends.program import calls
from backends.program.abstract import Abstract, Spec, abstract_library, name_of
from backends.program.program import Program, Ref, extract
from backends.wrapped import users_line

Tree = Any
MOST = 128  # programs that one function keeps; the least recently used goes


class Compiled:
    """One program of a jitted function with what runs it, for one structure, one set of shapes and dtypes."""

    def __init__(self, program: Program, run: Any, shape: Tree, numbers: tuple[int, ...]):
        """run: what lowers the program. run(arrays) → outputs, and maybe run.work(arrays) → all arrays, output k at run.places[k].

        shape: the tree that f returned, with the numbers of the outputs as leaves; numbers: the leaves of the arguments that are
        Python's.
        """
        self.program, self.run, self.numbers = program, run, numbers
        self.places: list[int | None] = getattr(run, "places", None) or list(range(len(program.outputs)))
        self.execute: Callable[[list[Any]], list[Any]] = getattr(run, "work", run)
        if numbers:
            work = self.execute
            self.execute = lambda leaves: work(_as_arrays(program, leaves, numbers))
        self.result: Callable[[list[Any]], Tree] = _builder(shape, program.outputs, self.places)
        self.donates = bool(program.donated)

    def explain(self) -> str:
        """Which lowering runs the program, and why not a faster one."""
        say = getattr(self.run, "explain", None)
        return str(say()) if say else "replay: each instruction by the library's own function"


class Jitted:
    """A function under jit. `traces` counts how often it was traced, `programs` are the programs it has."""

    def __init__(self, f: Callable[..., Any], donate: Any, static: Any, check: bool, lowering: str | None):
        self.f, self.check, self.lowering = f, check, lowering
        functools.update_wrapper(self, f, updated=())
        self.donate = _positions(f, donate, "donate")
        self.static = _positions(f, static, "static")
        if both := self.donate & self.static:
            raise ValueError(f"jit: argument {min(both)} is donated and static; an array is donated, a static argument is none")
        self.traces = 0
        self._quick: tuple[Callable[..., list[Any] | None], Compiled] | None = None  # how the last call entered, and its program
        self._last: list[Any] = []  # the results of the last call
        self._compiled: OrderedDict[Any, Compiled] = OrderedDict()
        self._lock = threading.RLock()

    def __repr__(self) -> str:
        return f"jit({getattr(self.f, '__name__', self.f)!s})"

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        return self if instance is None else functools.partial(self, instance)

    @property
    def programs(self) -> list[Program]:
        """The programs traced so far, oldest use first."""
        return [made.program for made in self._compiled.values()]

    def explain(self) -> str:
        """For each program: which lowering runs it, and why not a faster one."""
        return "\n\n".join(made.explain() for made in self._compiled.values())

    def trace(self, *args: Any, **kwargs: Any) -> Program:
        """The program for arguments like these; nothing is computed. A backends.Spec stands for an array of its shape and dtype."""
        leaves = tree.leaves([x for i, x in enumerate(args) if i not in self.static] + list(kwargs.values()))
        if any(isinstance(x, Spec) for x in leaves):
            arrays = [x for x in leaves if _is_data(x)]
            return trace(self.f, args, kwargs, self.static, self.donate, common_library(*arrays) if arrays else known("numpy"))[0]
        made = self._find(args, kwargs)[0]
        if made is None:
            raise TypeError(f"{self!r}.trace: there is no array with data among the arguments")
        return made.program

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if self._quick is not None and not kwargs:
            enter, quick = self._quick
            entered = enter(args, self._last)
            if entered is not None:
                results = quick.execute(entered)
                if quick.donates:
                    self._last = results
                return quick.result(results)
        made, leaves = self._find(args, kwargs)
        if made is None:  # no arrays, or traced ones: then another trace is under way, and this function is a part of it
            return self.f(*args, **kwargs)
        if self.check:
            return self._checked(made, leaves, args, kwargs)
        if not kwargs:
            came_from = {place: made.places[k] for k, place in made.program.donated.items()}
            self._quick, self._last = (_entry(args, self.static, came_from), made), [None] * (1 + max((p or 0 for p in made.places), default=0))
        return made.result(made.execute(leaves))

    def _find(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Compiled | None, list[Any]]:
        leaves: list[Any] = []
        key: list[Any] = []
        static = self.static
        try:
            for i, x in enumerate(args):
                if i in static:
                    key.append(x)
                else:
                    _flatten(x, leaves, key)
            if kwargs:
                for name, x in kwargs.items():
                    key.append(name)
                    _flatten(x, leaves, key)
            found = tuple(key)
            made = self._compiled.get(found)
        except _Transparent:
            return None, leaves
        except TypeError as error:
            raise TypeError(f"{self!r}: an argument that is no array is part of the program, so it must be hashable: {error}") from None
        if made is None:
            made = self._compile(found, args, kwargs, leaves)
        elif len(self._compiled) > 1:
            try:
                self._compiled.move_to_end(found)
            except KeyError:  # another thread dropped it just now
                pass
        return made, leaves

    def _compile(self, key: Any, args: tuple[Any, ...], kwargs: dict[str, Any], leaves: list[Any]) -> Compiled | None:
        arrays = [x for x in leaves if type(x) not in (int, float)]
        library = common_library(*arrays)
        if library is NOTHING or library.rank:
            return None
        with self._lock:
            if key in self._compiled:
                return self._compiled[key]
            self.traces += 1
            program, shape = trace(self.f, args, kwargs, self.static, self.donate, library)
            numbers = tuple(k for k, x in enumerate(leaves) if type(x) in (int, float))
            made = Compiled(program, library.lower(program, self.lowering), shape, numbers)
            self._compiled[key] = made
            if len(self._compiled) > MOST:
                self._compiled.popitem(last=False)
        return made

    def _checked(self, made: Compiled, leaves: list[Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """The result, after a comparison with the function itself. AssertionError names the first instruction that differs."""
        expected = tree.leaves(self.f(*args, **kwargs))
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
    donate: the arguments, by position or name, whose memory the result may take: their arrays are dead after the call, and
    the results that replace them are the same objects. static: arguments that are no arrays; each value has its own program.
    check=True: f itself runs beside the program, and AssertionError names the first instruction that differs.
    lowering: None takes the fastest that can be had; a name ("native", "numpy", "replay") takes that one or raises.
    Called inside a gradient or another jit, f just runs, and becomes a part of that.

        step.traces        how often it was traced           step.trace(*args)     the Program; print it
        step.programs      its programs                      step.explain()        which lowering runs them, and why
    """
    if f is None:
        return functools.partial(jit, donate=donate, static=static, check=check, lowering=lowering)
    if not callable(f):
        raise TypeError(f"jit takes a function, {type(f).__name__} came")
    return Jitted(f, donate, static, check, lowering)


def trace(
    f: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], static: frozenset[int], donate: frozenset[int], library: Library
) -> tuple[Program, Tree]:
    """Run f on abstract arrays like these: its program, and the tree that f returned, with the numbers of the outputs as leaves."""
    cls = abstract_library(library).array  # type: ignore[attr-defined]
    names = _argument_names(f, args)
    inputs: list[Any] = []
    given_up: list[int] = []
    devices = [library.device_of(x) for x in tree.leaves([x for i, x in enumerate(args) if i not in static]) if _is_data(x)]

    def lift(x: Any, name: str, donated: bool) -> Any:
        paths = tree.paths(x)

        def one(leaf: Any, path: str) -> Any:
            full = f"{name}/{path}" if path else name
            if type(leaf) in (int, float):
                kind = type(leaf)
                dtype = cls.default_int if kind is int else cls.default_float
                y = cls((), dtype, devices[0] if devices else None, calls.Input(full, (), dtype), kind)
            elif isinstance(leaf, Spec):
                y = cls(leaf.shape, leaf.dtype, devices[0] if devices else None, calls.Input(full, leaf.shape, leaf.dtype))
            elif _is_data(leaf):
                shape, dtype = tuple(leaf.shape), name_of(leaf.dtype)
                y = cls(shape, dtype, library.device_of(leaf), calls.Input(full, shape, dtype))
                if donated:
                    given_up.append(len(inputs))
            else:
                return leaf
            inputs.append(y)
            return y

        return tree.fill(x, [one(leaf, path) for leaf, path in zip(tree.leaves(x), paths, strict=True)])

    lifted = [x if i in static else lift(x, names[i], i in donate) for i, x in enumerate(args)]
    extra = {name: lift(x, name, False) for name, x in kwargs.items()}
    entered = [x.origin for x in inputs]  # before f rebinds what it was given: x += 1
    with calls.tracing():
        y = f(*lifted, **extra)
    leaves = tree.leaves(y)
    program, _ = extract(leaves, entered, library, devices[0] if devices else None)
    return replace(program, donated=_donations(program, given_up)), tree.fill(y, range(len(leaves)))


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


def _builder(shape: Tree, outputs: tuple[Any, ...], places: list[int | None]) -> Callable[[list[Any]], Tree]:
    """The function from arrays, output k at places[k], to the tree that f returned: an expression made of its containers."""
    constants: dict[str, Any] = {}

    def held(x: Any) -> str:
        name = f"k{len(constants)}"
        constants[name] = x
        return name

    def write(x: Any) -> str:
        if x is None:
            return "None"
        if type(x) is dict and all(type(key) in (str, int) for key in x):
            return "{" + ", ".join(f"{key!r}: {write(part)}" for key, part in x.items()) + "}"
        if isinstance(x, dict):
            return f"dict(zip({held(list(x))}, [{', '.join(write(part) for part in x.values())}]))"
        if isinstance(x, list):
            return "[" + ", ".join(map(write, x)) + "]"
        if isinstance(x, tuple):
            inner = "(" + "".join(write(part) + ", " for part in x) + ")"
            if hasattr(x, "_fields"):
                return f"{held(type(x))}(*{inner})"
            return inner
        return f"v[{places[x]}]" if places[x] is not None else held(outputs[x])

    build: Callable[[list[Any]], Tree] = eval(f"lambda v: {write(shape)}", constants)
    return build


def _entry(args: tuple[Any, ...], static: frozenset[int], came_from: dict[int, int | None]) -> Callable[..., list[Any] | None]:
    """enter(args, last) → the leaves of arguments like these, None for arguments that are otherwise: `_flatten`, unrolled.

    An array that is a result of the last call, where it replaced a donated one, is known and not looked at again: leaf k is
    last[came_from[k]].
    """
    scope: dict[str, Any] = {}
    lines: list[str] = []
    leaves: list[str] = []

    def held(x: Any) -> str:
        name = f"k{len(scope)}"
        scope[name] = x
        return name

    def check(condition: str) -> None:
        lines.append(f"    if not ({condition}): return None")

    def walk(x: Any, code: str) -> None:
        name = f"v{len(lines)}"
        lines.append(f"    {name} = {code}")
        if x is None or isinstance(x, bool):
            check(f"{name} is {x}")
        elif isinstance(x, dict):
            check(f"type({name}) is {held(type(x))} and len({name}) == {len(x)}")
            for key in x:
                walk(x[key], f"{name}[{held(key)}]")
        elif isinstance(x, list | tuple):
            check(f"type({name}) is {held(type(x))} and len({name}) == {len(x)}")
            for i, part in enumerate(x):
                walk(part, f"{name}[{i}]")
        elif type(x) in (int, float):
            check(f"type({name}) is {type(x).__name__}")
            leaves.append(name)
        elif _is_data(x):
            place = library_of(x).place_of(x)
            where = "" if place is None else f" and {held(library_of(x).place_of)}({name}) == {held(place)}"
            known_as = f"{name} is last[{came_from[len(leaves)]}] or " if len(leaves) in came_from else ""
            check(f"{known_as}type({name}) is {held(type(x))} and {name}.shape == {held(x.shape)} and {name}.dtype == {held(x.dtype)}{where}")
            leaves.append(name)
        else:
            check(f"{name} == {held(x)}" if isinstance(x, str) else f"{name} is {held(x)}")

    check(f"len(args) == {len(args)}")
    for i, x in enumerate(args):
        if i in static:
            name = f"v{len(lines)}"
            lines.append(f"    {name} = args[{i}]")
            check(f"type({name}) is {held(type(x))} and {name} == {held(x)}")
        else:
            walk(x, f"args[{i}]")
    source = "\n".join(["def enter(args, last):", "  try:", *lines, f"    return [{', '.join(leaves)}]", "  except (KeyError, AttributeError): return None"])
    exec(source, scope)
    enter: Callable[..., list[Any] | None] = scope["enter"]
    return enter


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
            key.append(x)
            return
        if library.rank:
            raise _Transparent
        leaves.append(x)
        key.append((library, x.shape, x.dtype, library.place_of(x)))


def _is_data(x: Any) -> bool:
    try:
        return library_of(x).rank == 0
    except TypeError:
        return False


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


def _positions(f: Any, chosen: Any, what: str) -> frozenset[int]:
    """Arguments given by position or name, as positions."""
    listed = (chosen,) if isinstance(chosen, int | str) else tuple(chosen)
    if all(isinstance(c, int) for c in listed):
        return frozenset(listed)
    names = list(inspect.signature(f).parameters)
    for c in listed:
        if isinstance(c, str) and c not in names:
            raise ValueError(f"jit: {what} names {c!r}; the parameters are {', '.join(names)}")
    return frozenset(names.index(c) if isinstance(c, str) else c for c in listed)


def _argument_names(f: Any, args: tuple[Any, ...]) -> list[str]:
    try:
        names = [p.name for p in inspect.signature(f).parameters.values() if p.kind is not p.VAR_POSITIONAL]
    except (TypeError, ValueError):
        names = []
    return [*names[: len(args)], *(f"argument {i}" for i in range(len(names), len(args)))]


__all__ = ["Abstract", "Compiled", "Jitted", "first_difference", "jit", "trace"]
