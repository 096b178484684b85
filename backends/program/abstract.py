"""Abstract arrays: a shape, a dtype, a device, and no data; every function of the standard computes with these alone.

    shape_of(f, spec((32, 10)))      the shapes and dtypes that f returns, without computing anything

`abstract_library(library)` makes the abstract arrays over one array library. Nothing of that library is called for a
result, so that it need not be able to run here.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, NamedTuple

import backends
from backends import tree
from backends.library import GAPS, KNOWN, NOTHING, Library, common_library, known, library_of, register
from backends.program import shapes_linalg
from backends.program.calls import Call, Captured, Input, Made
from backends.program.indexing import broadcast
from backends.program.promotion import ANY, BOOL, Refusal, dtype_name, promote_all
from backends.program.promotion import kind as kind_of
from backends.program.shapes import GAP_RULES, MAIN, NUMBERS, PROMOTING, Rule
from backends.wrapped import Namespace, Wrapped, leaving, users_line

Array = Any


class Abstract(Wrapped):
    """An array without data. Its class knows its library: each library has its own, made by `abstract_library`."""

    __slots__ = ("device", "dtype_name", "origin", "shape", "weak")
    library: Library  # the one beneath
    dtypes: dict[str, Any]
    narrow: dict[str, str]  # dtypes that the library replaces, as JAX does without 64-bit types
    default_float: str
    default_complex: str
    default_int: str
    default_uint: str
    default_index: str

    def __init__(self, shape: tuple[int, ...], name: str, device: Any = None, origin: Any = None, weak: Any = None):
        self.shape = shape
        self.dtype_name = name
        self.device = device
        self.origin = origin if origin is not None else Input("argument", shape, name)  # what it comes from
        self.weak = weak  # int or float: it stands for a Python number, whose dtype gives way to that of an array

    @property
    def dtype(self) -> Any:  # type: ignore[override]
        return self.dtypes[self.dtype_name]

    def __repr__(self) -> str:
        return f"abstract {spec(self.shape, self.dtype_name)}"

    def to_device(self, device: Any, /, *, stream: Any = None) -> Any:
        return apply(type(self), "to_device", MAIN["to_device"], (self,), {"device": device})

    def __getitem__(self, key: Any) -> Any:
        template, arrays = self._split(key)
        return apply(type(self), "get_item", GAP_RULES["get_item"], (self, arrays), {"key": template})

    def __setitem__(self, key: Any, value: Any) -> None:
        template, arrays = self._split(key)
        self._rebind(apply(type(self), "set_item", GAP_RULES["set_item"], (self, value, arrays), {"key": template}))

    def _rebind(self, y: Abstract) -> Any:
        """x[k] = v and x += y: this object stands for the new value."""
        self.shape, self.dtype_name, self.device, self.origin, self.weak = y.shape, y.dtype_name, y.device, y.origin, y.weak
        return self

    def strong(self, name: str | None = None) -> Abstract:
        """The same number in this dtype, as an array that does not give way."""
        name = self.default_float if name is None else name
        if name == self.dtype_name:
            return type(self)(self.shape, name, self.device, self.origin)
        call = Call("astype", (self.origin,), {"dtype": self.dtypes[name]}, [(self.shape, name)])
        return type(self)(self.shape, name, self.device, Made(call, 0))

    def __deepcopy__(self, memo: Any) -> Abstract:
        """Another name for the same value, whose x += 1 leaves this one as it is; as copy.copy gives it."""
        return type(self)(self.shape, self.dtype_name, self.device, self.origin, self.weak)

    def __format__(self, how: str) -> str:
        return format(repr(self), how) if not how else self._no_value(f"f'{{x:{how}}}'")  # type: ignore[no-any-return]

    def _no_value(self, what: str) -> Any:
        raise leaving(what, "of an array without data", "This value is not known here")

    def __bool__(self) -> bool:
        return self._no_value("bool(x)")  # type: ignore[no-any-return]

    def __int__(self) -> int:
        return self._no_value("int(x)")  # type: ignore[no-any-return]

    def __index__(self) -> int:
        return self._no_value("int(x)")  # type: ignore[no-any-return]

    def __float__(self) -> float:
        return self._no_value("float(x)")  # type: ignore[no-any-return]

    def __complex__(self) -> complex:
        return self._no_value("complex(x)")  # type: ignore[no-any-return]

    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
        return self._no_value("np.asarray(x)")

    def __dlpack__(self, **kwargs: Any) -> Any:
        return self._no_value("x.__dlpack__()")

    def item(self, *index: Any) -> Any:
        return self._no_value("x.item()")

    def tolist(self) -> Any:
        return self._no_value("x.tolist()")

    @classmethod
    def of_number(cls, number: Any) -> str:
        """The dtype that the library gives a Python number in `asarray` and `full`."""
        if hasattr(number, "dtype_name"):
            return str(number.dtype_name)
        for kind, name in zip(NUMBERS, (cls.default_int, cls.default_float, cls.default_complex, "bool"), strict=True):
            if type(number) is kind:
                return name
        raise Refusal(f"{type(number).__name__} {number!r} is no number", TypeError)

    @classmethod
    def unknown(cls, what: str, instead: str) -> str:
        """The message where a shape would depend on values."""
        place, line = users_line()
        return f"{what} depends on values, and this array has none (at {place}: {line}); {instead}"


def _in_place(sign: str) -> Callable[[Abstract, Any], Any]:
    def operator(self: Abstract, other: Any) -> Any:
        y = getattr(self, f"__{sign}__")(other)
        if y is NotImplemented:
            return y
        if y.dtype_name != self.dtype_name or y.shape != self.shape:
            raise TypeError(
                f"x {sign}= y: x is {Spec(self.shape, self.dtype_name)}, the result would be {Spec(y.shape, y.dtype_name)}"
            )
        return self._rebind(y)

    return operator


for _sign in (
    "add",
    "sub",
    "mul",
    "truediv",
    "floordiv",
    "mod",
    "pow",
    "matmul",
    "and",
    "or",
    "xor",
    "lshift",
    "rshift",
):
    setattr(Abstract, f"__i{_sign}__", _in_place(_sign))


def apply(cls: type[Abstract], name: str, rule: Rule, arguments: tuple[Any, ...], static: dict[str, Any]) -> Any:
    """The one place through which every function goes: the function's name, arguments and static parameters → its outputs.

    arguments: abstract arrays, arrays with data, Python numbers, None, and lists of these. The errors name the function.
    Each output remembers the call, so that the program can be read off from the results (program.py).
    """
    device: Any = None
    seen = []
    weak = False
    for x in arguments:
        kind = type(x)
        if kind is cls:
            if x.device is not device and x.device is not None:
                device = _one_device(name, device, x.device)
            weak = weak or x.weak is not None
        elif kind not in _PLAIN:
            x = _lower(cls, name, x)
            for part in x if type(x) is list else (x,):
                if type(part) is cls and part.device is not None:
                    device = _one_device(name, device, part.device)
        seen.append(x)
    if weak:
        seen, stays = _settle(cls, name, seen)
        weak = stays and "dtype" not in static
    try:
        out = rule(cls, *seen, **static)
    except Refusal as refusal:
        raise refusal.error(f"{name}: {refusal}") from None
    if static and static.get("device") is not None:
        device = static["device"]
    several = type(out) is list
    pairs = [(shape, cls.narrow.get(dtype, dtype)) for shape, dtype in (out if several else (out,))]
    call = Call(name, tuple(x.origin if type(x) is cls else _origins(x) if type(x) is list else x for x in seen), static, pairs)
    outputs = [cls(shape, dtype, device, Made(call, i)) for i, (shape, dtype) in enumerate(pairs)]
    if weak:
        for y in outputs:
            y.weak = _WEAK_KINDS.get(kind_of(y.dtype_name)) if y.shape == () else None
    if several:
        return RESULTS[name](*outputs) if name in RESULTS else tuple(outputs)
    return outputs[0]


def _origins(x: Any) -> Any:
    return [_origins(part) for part in x] if type(x) is list else x.origin if isinstance(x, Abstract) else x


_KEEPING = frozenset(("negative", "positive", "abs", "square"))  # functions of one number that give a number of its kind
_WEAK_KINDS = {"integer": int, "real floating": float}


def _settle(cls: type[Abstract], name: str, seen: list[Any]) -> tuple[list[Any], bool]:
    """Arguments among which some stand for Python numbers: beside arrays these take the arrays' dtype, alone they stay weak."""
    if name not in PROMOTING:
        return [x.strong(x.dtype_name) if type(x) is cls and x.weak else x for x in seen], name in _KEEPING
    strong = [x.dtype_name for x in seen if type(x) is cls and x.weak is None]
    if not strong:
        floats = name == "divide" or any(map(_is_float, seen))
        return [x.strong() if floats and type(x) is cls and x.weak is int else x for x in seen], True
    numbers = [dtype for dtype in strong if dtype not in BOOL]
    if not numbers:
        return seen, False
    settled = []
    for x in seen:
        if type(x) is cls and x.weak is not None:
            try:
                target = promote_all([*numbers, x.weak])
            except Refusal:
                target = x.dtype_name
            x = x.strong(target)
        settled.append(x)
    return settled, False


def _is_float(x: Any) -> bool:
    return type(x) is float or (isinstance(x, Abstract) and x.weak is float)


_PLAIN = frozenset((int, float, complex, bool, type(None)))


def _output(cls: type[Abstract], shape: tuple[int, ...], dtype: str, device: Any, origin: Any = None) -> Abstract:
    return cls(shape, cls.narrow.get(dtype, dtype), device, origin)


def _one_device(name: str, a: Any, b: Any) -> Any:
    if a is not None and a != b:
        raise ValueError(f"{name}: arrays on two devices, {a} and {b}; x.to_device(device) brings them together")
    return b


def _lower(cls: type[Abstract], name: str, x: Any) -> Any:
    """x, which has data or is a list, as rules see it: an abstract array, or a list of these."""
    kind = type(x)
    if kind is cls or kind in _PLAIN:
        return x
    if kind in (list, tuple):
        return [_lower(cls, name, part) for part in x]
    library = library_of(x)
    if library is not cls.library:
        if library is NOTHING or library.rank:
            raise TypeError(f"{name}: an array of {library.name} among abstract arrays of {cls.library.name}; write xp = namespace(…) of all of them")
        if isinstance(x, float | complex):  # numpy.float64 is a Python float
            return complex(x) if isinstance(x, complex) else float(x)
        if name != "asarray":
            raise TypeError(
                f"{name}: arrays of two libraries meet: {cls.library.name} (abstract) and {library.name}. "
                "backends.move(tree, backend) takes all of them to one."
            )
        held = cls.library.put(library.fetch(x), None, None)
        return cls(tuple(x.shape), dtype_name(x.dtype), None, Captured(held, dtype_name(x.dtype)))
    return cls(tuple(x.shape), name_of(x.dtype), library.device_of(x), Captured(x, name_of(x.dtype)))


_names: dict[tuple[type, Any], str] = {}


def name_of(dtype: Any) -> str:
    """dtype_name(dtype), remembered; by class too, for equal dtypes of two libraries may not be compared."""
    try:
        return _names[type(dtype), dtype]
    except KeyError:
        name = _names[type(dtype), dtype] = dtype_name(dtype)
        return name


# the functions of the namespace


class EighResult(NamedTuple):
    eigenvalues: Any
    eigenvectors: Any


class EigResult(NamedTuple):
    eigenvalues: Any
    eigenvectors: Any


class QRResult(NamedTuple):
    Q: Any
    R: Any


class SlogdetResult(NamedTuple):
    sign: Any
    logabsdet: Any


class SVDResult(NamedTuple):
    U: Any
    S: Any
    Vh: Any


RESULTS = {"linalg.eig": EigResult, "linalg.eigh": EighResult, "linalg.qr": QRResult, "linalg.slogdet": SlogdetResult, "linalg.svd": SVDResult}
_ORDER = {"full": ("shape", "fill_value")}  # where the order of a call is not arguments first


def _function(cls: type[Abstract], name: str, rule: Rule, within: str = "") -> Callable[..., Any]:
    """The function of the namespace over a rule: it sorts what came into arguments and static parameters."""
    full = within + name
    parameters = list(inspect.signature(rule).parameters.values())[1:]
    positional = tuple(p.name for p in parameters if p.kind not in (p.KEYWORD_ONLY, p.VAR_KEYWORD))
    static_names = tuple(p.name for p in parameters if p.kind is p.KEYWORD_ONLY)
    required = tuple(p.name for p in parameters if p.kind is not p.VAR_POSITIONAL and p.default is p.empty)
    variadic = any(p.kind is p.VAR_POSITIONAL for p in parameters)
    defaults = {p.name: p.default for p in parameters}
    order = _ORDER.get(name, ()) or (*positional, *static_names)
    order = (*order, *(key for key in static_names if key not in order))
    allowed = frozenset(static_names)
    needed = sum(key in positional for key in required)
    in_order, first, last = name not in _ORDER, len(positional) + sum(key in allowed for key in required), len(order)
    plain = in_order and all(key in positional for key in required)

    def bind(args: tuple[Any, ...], static: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        given = dict(zip(order, args, strict=False))
        if len(args) > len(order) or given.keys() & static.keys() or not static.keys() <= set(order):
            came = ", ".join((*map(_show, args), *(f"{key}=…" for key in static)))
            raise TypeError(f"{name} takes ({', '.join(order)}); ({came}) came")
        given |= static
        if missing := [key for key in required if key not in given]:
            raise TypeError(f"{name} takes ({', '.join(order)}); {', '.join(missing)} is missing")
        count = max((i + 1 for i, key in enumerate(positional) if key in given), default=0)
        arguments = tuple(given.get(key, defaults[key]) for key in positional[:count])
        return arguments, {key: given[key] for key in order if key in given and key not in positional}

    if variadic:

        def call(*args: Any, **static: Any) -> Any:
            return apply(cls, full, rule, args, static)
    else:

        def call(*args: Any, **static: Any) -> Any:
            count = len(args)
            if in_order and not static and first <= count <= last:  # reshape(x, (2, 3))
                args, static = args[: len(positional)], dict(zip(static_names, args[len(positional) :], strict=False))
            elif not plain or not needed <= count <= len(positional) or (static and not static.keys() <= allowed):
                args, static = bind(args, static)
            return apply(cls, full, rule, args, static)

    call.__name__ = call.__qualname__ = name
    return call


def _show(x: Any) -> str:
    text = repr(x)
    return text if len(text) <= 40 else text[:37] + "..."


class _Gaps(dict[str, Callable[..., Any]]):
    """The gap functions of abstract arrays. One without a rule of its own has the shapes of its portable body."""

    def __init__(self, cls: type[Abstract]):
        self.cls = cls
        super().__init__({name: _function(cls, name, rule) for name, rule in GAP_RULES.items()})
        self["device"] = lambda x: x.device
        self["scan"] = functools.partial(_scan, cls)

    def get(self, name: str, portable: Any = None) -> Any:
        if name not in self:
            if portable is None and name not in GAPS:
                return None
            body = portable or GAPS[name].portable  # type: ignore[attr-defined]

            def rule(k: Any, *arguments: Any, **static: Any) -> Any:
                y = body(*arguments, **static)
                return (
                    [(part.shape, part.dtype_name) for part in y]
                    if isinstance(y, list | tuple)
                    else (y.shape, y.dtype_name)
                )

            self[name] = lambda *args, **static: apply(self.cls, name, rule, args, static)
        return self[name]


def _scan(cls: type[Abstract], f: Callable[..., Any], carry: Any, xs: Any, *, length: int, reverse: bool) -> Any:
    """A loop as one call: its step is traced once, as a program of its own."""
    from backends.program.program import extract  # it reads programs off from the arrays of this page

    def enter(x: Any) -> Abstract:
        return x if type(x) is cls and x.weak is None else cls.xp.asarray(x)  # type: ignore[no-any-return]

    def inside(x: Abstract, shape: tuple[int, ...], path: str) -> Abstract:
        return cls(shape, x.dtype_name, x.device, Input(path, shape, x.dtype_name))

    carries, columns = [enter(x) for x in tree.leaves(carry)], [enter(x) for x in tree.leaves(xs)]
    since = Call("", (), {}, []).serial
    states = [inside(x, x.shape, f"carry {i}") for i, x in enumerate(carries)]
    rows = [inside(x, x.shape[1:], f"x {i}") for i, x in enumerate(columns)]
    entered = [x.origin for x in (*states, *rows)]  # before f rebinds what it was given
    new, y = f(tree.fill(carry, states), tree.fill(xs, rows))
    after, made = [enter(x) for x in tree.leaves(new)], [enter(x) for x in tree.leaves(y)]
    for i, (a, b) in enumerate(zip(carries, after, strict=True)):
        if (a.shape, a.dtype_name) != (b.shape, b.dtype_name):
            raise ValueError(f"scan: leaf {i} of the carry is {spec(a.shape, a.dtype_name)} and becomes {spec(b.shape, b.dtype_name)}; under jit it must stay")
    program, outer = extract([*after, *made], entered, cls.library, None, since)
    outputs = [(x.shape, x.dtype_name) for x in carries] + [((length, *x.shape), x.dtype_name) for x in made]
    call = Call("scan", (_origins(carries), _origins(columns), outer), {"program": program, "length": length, "reverse": reverse}, outputs)
    results = [cls(shape, dtype, carries[0].device if carries else None, Made(call, i)) for i, (shape, dtype) in enumerate(outputs)]
    return tree.fill(new, results[: len(carries)]), tree.fill(y, results[len(carries) :])


@functools.cache
def abstract_library(library: Library) -> Library:
    """The library of abstract arrays over this one. `abstract_library(library).array` is their class."""
    xp = library.xp
    defaults, narrow = _defaults(xp)
    cls = type(
        "Abstract",
        (Abstract,),
        {
            "__slots__": (),
            "library": library,
            "dtypes": _dtypes(xp),
            "narrow": narrow,
            **{f"default_{k}": v for k, v in defaults.items()},
        },
    )
    over = Library(f"{library.name}, abstract", None, f"abstract {library.title}")
    over.rank = 1
    over.array = cls  # type: ignore[attr-defined]
    register(cls, over)
    functions: dict[str, Any] = {name: _function(cls, name, rule) for name, rule in MAIN.items()}
    for part, rules in (("linalg", shapes_linalg.LINALG), ("fft", shapes_linalg.FFT)):
        functions[part] = SimpleNamespace(**{name: _function(cls, name, rule, f"{part}.") for name, rule in rules.items()})
    functions |= _dtype_functions(cls)
    cls.xp = over.xp = Namespace(f"abstract_{library.name}", xp, functions)  # type: ignore[attr-defined]
    over.gaps = _Gaps(cls)
    return over


def _dtypes(xp: Any) -> dict[str, Any]:
    """{name: dtype object of arrays}; numpy.float32 is a class, the dtype of an array is numpy.dtype("float32")."""
    found = {}
    for name in ANY:
        if hasattr(xp, name) or name == "bool":
            made = getattr(xp, name)
            try:
                found[name] = xp.dtype(name)
            except (AttributeError, TypeError):
                found[name] = made
    return found


def _defaults(xp: Any) -> tuple[dict[str, str], dict[str, str]]:
    """The default dtypes of a library, and the 64-bit dtypes that it replaces by narrower ones."""
    names = {"float": "float64", "complex": "complex128", "int": "int64", "index": "int64", "uint": "uint64"}
    narrow: dict[str, str] = {}
    if hasattr(xp, "__array_namespace_info__"):
        info = xp.__array_namespace_info__()
        given = info.default_dtypes()
        kinds = {"float": "real floating", "complex": "complex floating", "int": "integral", "index": "indexing"}
        names = {key: dtype_name(given[kind]) for key, kind in kinds.items()}
        names["uint"] = "u" + names["int"]
        if getattr(xp, "__name__", "") == "jax.numpy" and names["float"] == "float32":
            narrow = {"float64": "float32", "int64": "int32", "uint64": "uint32", "complex128": "complex64"}
    return names, narrow


def _dtype_functions(cls: type[Abstract]) -> dict[str, Callable[..., Any]]:
    xp = cls.library.xp

    def weak(x: Any) -> Any:
        return type(x) if type(x) in NUMBERS else dtype_name(x.dtype) if _is_array(x) else dtype_name(x)

    def result_type(*arrays_and_dtypes: Any) -> Any:
        """The dtype that these arrays, dtypes and Python numbers have in common."""
        try:
            return cls.dtypes[promote_all([weak(x) for x in arrays_and_dtypes])]
        except Refusal as refusal:
            raise refusal.error(f"result_type: {refusal}") from None

    def can_cast(from_: Any, to: Any, /) -> bool:
        """Whether the promotion of both is `to`."""
        try:
            return promote_all([weak(from_), dtype_name(to)]) == dtype_name(to)
        except Refusal:
            return False

    def of_dtype(name: str) -> Callable[[Any], Any]:
        return lambda x, /: getattr(xp, name)(x.dtype if isinstance(x, Abstract) else x)

    def broadcast_shapes(*shapes: tuple[int, ...]) -> tuple[int, ...]:
        try:
            return broadcast(*map(tuple, shapes))
        except Refusal as refusal:
            raise ValueError(f"broadcast_shapes: {refusal}") from None

    return {
        "result_type": result_type, "can_cast": can_cast, "finfo": of_dtype("finfo"), "iinfo": of_dtype("iinfo"),
        "broadcast_shapes": broadcast_shapes,
    }  # fmt: skip


def _is_array(x: Any) -> bool:
    if (
        isinstance(x, type) or not hasattr(x, "dtype") or not hasattr(x, "shape")
    ):  # numpy.dtype has a shape, numpy.float32 a dtype
        return False
    try:
        return library_of(x) is not NOTHING
    except TypeError:
        return False


# descriptions


@dataclass(frozen=True)
class Spec:
    """A shape and the name of a dtype: float32(32, 10)."""

    shape: tuple[int, ...]
    dtype: str = "float32"

    def __repr__(self) -> str:
        return f"{self.dtype}({', '.join(map(str, self.shape))})"


def spec(shape: Any, dtype: Any = "float32") -> Spec:
    """The description of an array: its shape, and its dtype by name or as any library's object."""
    return Spec((shape,) if isinstance(shape, int) else tuple(shape), dtype_name(dtype))


def abstract(like: Any, *, library: Library | None = None, device: Any = None) -> Abstract:
    """The abstract array with the shape and dtype of this array or Spec, over this library (of a Spec: NumPy if not given)."""
    if isinstance(like, Abstract):
        return like
    if isinstance(like, Spec):
        cls = abstract_library(library or known("numpy")).array  # type: ignore[attr-defined]
        return _output(cls, like.shape, like.dtype, device)
    beneath = library_of(like)
    cls = abstract_library(library or beneath).array  # type: ignore[attr-defined]
    return _output(
        cls, tuple(like.shape), name_of(like.dtype), device if device is not None else beneath.device_of(like)
    )


def shape_of(f: Callable[..., Any], *args: Any, backend: Any = None) -> Any:
    """The tree of what f returns, each array as its Spec; f runs on abstract arrays, nothing is computed.

    args: trees whose leaves are arrays, Specs, or anything else, which is handed on as it is. `backend`: whose dtypes
    and defaults hold; None is the library of the arrays, else what `backends.get()` chooses. It need not run here.

    >>> shape_of(lambda x, w: {"y": x @ w, "argmax": np.argmax(x @ w, axis=1)}, spec((32, 784)), spec((784, 10)))
    {'y': float32(32, 10), 'argmax': int64(32)}
    """
    library, device = _library(backend, tree.leaves(list(args)))

    def lift(x: Any) -> Any:
        if isinstance(x, Abstract):
            return x
        if isinstance(x, Spec):
            return abstract(x, library=library, device=device)
        return abstract(x, library=library) if _is_array(x) else x

    y = f(*(tree.map(lift, x) for x in args))
    return tree.map(
        lambda leaf: (
            spec(leaf.shape, leaf.dtype_name if isinstance(leaf, Abstract) else leaf.dtype) if _is_array(leaf) else leaf
        ),
        y,
    )


def _library(backend: Any, leaves: list[Any]) -> tuple[Library, Any]:
    if isinstance(backend, backends.Backend):
        return backend.library, backend.device
    if isinstance(backend, str) and (name := backend.partition(":")[0]) in KNOWN:
        return known(name), None
    if backend is None:
        common = common_library(*(x for x in leaves if _is_array(x)))
        if common is not NOTHING:
            return (
                type(next(x for x in leaves if isinstance(x, Abstract))).library if common.rank == 1 else common
            ), None
    chosen = backends.get(backend)
    return chosen.library, chosen.device


__all__ = ["Abstract", "Spec", "abstract", "abstract_library", "apply", "shape_of", "spec"]
