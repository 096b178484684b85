"""The tape: traced arrays, which remember how they were computed, and the walk back through them.

A traced array holds a value and the node that made it. A node knows its parents and one function, `pull`, from the
gradient by its outputs to the gradients by its parents. There is no list and no global state: a tape is reached only
from its arrays.

Gradients of gradients nest: each differentiation opens a tape with a larger serial number, and an operation belongs to
the newest tape among its arguments. Its body sees their values, which may be traced on older tapes and are recorded there.
"""

from __future__ import annotations

import functools
import heapq
import itertools
from collections.abc import Callable, Collection, Iterable
from typing import TYPE_CHECKING, Any

from backends import library_of, namespace
from backends.library import Library, register
from backends.program import calls
from backends.wrapped import Wrapped, leaving, users_line

if TYPE_CHECKING:
    from ann.autodiff.primitive import Primitive

Array = Any

_serials = itertools.count(1)
_orders = itertools.count()


class Tape:
    """The identity of one differentiation; the larger serial is the newer. watch(name, y) is told of every operation on it."""

    __slots__ = ("serial", "watch")

    def __init__(self, serial: int | None = None):
        self.serial = next(_serials) if serial is None else serial
        self.watch: Callable[[str, Any], None] | None = None


CONSTANT = Tape(0)  # what the lifted namespace creates: constants that belong to every tape


class Node:
    """One recorded operation, or a leaf: its parents as (node, output number), and pull(dys) → one gradient a parent."""

    __slots__ = ("order", "outputs", "parents", "pull")

    def __init__(self, parents: list[tuple[Node, int]], pull: Callable[[list[Any]], list[Any]] | None):
        self.order = next(_orders)
        self.parents = parents
        self.pull = pull
        self.outputs: tuple[Any, ...] | None = None  # of a tuple, to fill in zeros


class Traced(Wrapped):
    """An array that remembers its computation on one tape. `node` is None where no input to differentiate is behind it."""

    __slots__ = ("node", "slot", "tape", "value")

    def __init__(self, value: Any, tape: Tape, node: Node | None = None, slot: int = 0):
        self.value = value
        self.tape = tape
        self.node = node
        self.slot = slot

    def __repr__(self) -> str:
        return f"traced {self.value!r}"

    @property
    def shape(self) -> tuple[int, ...]:  # type: ignore[override]
        return tuple(self.value.shape)

    @property
    def dtype(self) -> Any:  # type: ignore[override]
        return self.value.dtype

    @property
    def device(self) -> Any:
        return library_of(self.value).device_of(self.value)

    def to_device(self, device: Any, /, *, stream: Any = None) -> Any:
        return self.xp.to_device(self, device=device)

    def __getitem__(self, key: Any) -> Any:
        template, arrays = self._split(key)
        return self.xp.get_item(self, arrays, key=template)

    def __setitem__(self, key: Any, value: Any) -> None:
        template, arrays = self._split(key)
        self._rebind(self.xp.set_item(self, value, arrays, key=template))

    def _rebind(self, y: Traced) -> Any:
        """x[k] = v and x += y: this wrapper stands for the new value; the memory of the old one is not written."""
        self.value, self.tape, self.node, self.slot = y.value, y.tape, y.node, y.slot
        return self

    @property
    def depends(self) -> bool:
        """Whether a differentiated input is behind this array, on its tape or on an older one."""
        return self.node is not None or (isinstance(self.value, Traced) and self.value.depends)

    def _number(self, what: str) -> Any:
        if self.depends:
            raise leaving(what, "inside grad", "Its gradient would be lost")
        return raw(self)

    def __bool__(self) -> bool:
        return bool(self.value)

    def __int__(self) -> int:
        return int(self.value)

    def __index__(self) -> int:
        return self.value.__index__()  # type: ignore[no-any-return]

    def __float__(self) -> float:
        return float(self._number("float(x)"))

    def __complex__(self) -> complex:
        return complex(self._number("complex(x)"))

    def __format__(self, form: str) -> str:
        x = raw(self)
        return format(library_of(x).fetch(x)[()], form) if form else repr(self)

    def item(self) -> Any:
        return self._number("x.item()").item()

    def tolist(self) -> Any:
        return self._number("x.tolist()").tolist()

    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
        x = self._number("np.asarray(x)")
        x = library_of(x).fetch(x)
        return x if dtype is None else x.astype(dtype)

    def __dlpack__(self, *, stream: Any = None, max_version: Any = None, dl_device: Any = None, copy: Any = None) -> Any:
        given = {"stream": stream, "max_version": max_version, "dl_device": dl_device, "copy": copy}
        return self._number("x.__dlpack__()").__dlpack__(**{key: value for key, value in given.items() if value is not None})

    def __dlpack_device__(self) -> Any:
        return raw(self).__dlpack_device__()


def _in_place(sign: str) -> Callable[[Traced, Any], Any]:
    def operator(self: Traced, other: Any) -> Any:
        y = getattr(self, f"__{sign}__")(other)
        if y is NotImplemented:
            return y
        if y.dtype != self.dtype or y.shape != self.shape:
            raise TypeError(f"x {sign}= y: x is {self.dtype} {self.shape}, the result would be {y.dtype} {y.shape}")
        return self._rebind(y)

    return operator


for _sign in ("add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "matmul", "and", "or", "xor", "lshift", "rshift"):
    setattr(Traced, f"__i{_sign}__", _in_place(_sign))


def is_traced(x: Any) -> bool:
    return isinstance(x, Traced)


def raw(x: Any) -> Any:
    """The array beneath all tapes."""
    while isinstance(x, Traced):
        x = x.value
    return x


def below(x: Any, tape: Tape) -> Any:
    """What x is beneath this tape: the bodies of operations recorded on the tape see this."""
    if isinstance(x, Traced):
        return x.value if x.tape is tape or x.tape is CONSTANT else x
    if type(x) in (list, tuple):
        return [below(part, tape) for part in x]
    return x


def lift(x: Array, tape: Tape, leaf: bool = False) -> Traced:
    """x as a traced array of this tape: an input to differentiate (leaf), or a constant."""
    return traced_class(library_of(raw(x)))(x, tape, Node([], None) if leaf else None)


@functools.cache
def traced_class(library: Library) -> type[Traced]:
    """The class of traced arrays over this library; its namespace is the library's, made differentiable."""
    from ann.autodiff.rules import differentiable_namespace, gap_rules  # the rules are primitives, defined on this page

    cls: type[Traced] = type("Traced", (Traced,), {"__slots__": (), "weak_scalars": library.name != "numpy"})
    traced = Library(f"{library.name}, traced", None)
    traced.rank = 2
    traced.gaps = gap_rules()
    register(cls, traced)
    cls.xp = traced.xp = differentiable_namespace(library, cls)
    return cls


def record(primitive: Primitive, args: tuple[Any, ...], static: dict[str, Any]) -> Any:
    """Run a primitive on arguments of which at least one is traced, and remember it on the newest tape among them."""
    tape, cls = CONSTANT, Traced
    parents: list[tuple[Node, int]] = []
    for x in _flat(args):
        if isinstance(x, Traced) and (x.tape.serial > tape.serial or cls is Traced):
            tape, cls = (x.tape if x.tape.serial > tape.serial else tape), type(x)
    values = [below(x, tape) for x in args]
    if any(map(is_traced, _flat(values))):  # older tapes: then all arrays answer one namespace
        values = [_enclosed(x, cls) for x in values]
    number = calls.new_region() if calls.active else 0
    if number:
        with calls.region(primitive.__name__, number, "value", static):  # type: ignore[attr-defined]
            y, *pulls = primitive.body(*values, **static)
    else:
        y, *pulls = primitive.body(*values, **static)

    plan: list[tuple[int, int | None]] = []  # (parameter, place in its list or None), one a parent
    for i, x in enumerate(args):
        if not primitive.joint and (i >= len(pulls) or pulls[i] is None):
            continue
        members = enumerate(x) if type(x) in (list, tuple) else ((None, x),)
        for j, member in members:
            if isinstance(member, Traced) and member.tape is tape and member.node is not None:
                plan.append((i, j))
                parents.append((member.node, member.slot))

    node = None
    if plan:

        def pull(dys: list[Any]) -> list[Any]:
            if number:
                with calls.region(primitive.__name__, number, "pullback", static):  # type: ignore[attr-defined]
                    return pulled(dys)
            return pulled(dys)

        def pulled(dys: list[Any]) -> list[Any]:
            dy = tuple(dys) if isinstance(y, tuple) else dys[0]
            if primitive.joint:
                gradients = pulls[0](dy)
                return [gradients[i] if j is None else gradients[i][j] for i, j in plan]
            computed = {i: pulls[i](dy) for i in dict(plan)}
            return [computed[i] if j is None else computed[i][j] for i, j in plan]

        node = Node(parents, pull)
    wrapped: Any
    if isinstance(y, tuple):
        if node:
            node.outputs = y
        wrapped = tuple(_wrap(part, primitive, cls, tape, node, slot) for slot, part in enumerate(y))
    else:
        wrapped = _wrap(y, primitive, cls, tape, node, 0)
    if tape.watch is not None:
        tape.watch(primitive.__name__, wrapped)  # type: ignore[attr-defined]
    return wrapped


def _wrap(y: Any, primitive: Primitive, cls: type[Traced], tape: Tape, node: Node | None, slot: int) -> Any:
    if isinstance(y, Traced):
        if y.tape is CONSTANT:
            y = y.value
        elif y.tape.serial >= tape.serial:
            raise TypeError(
                f"{primitive.__name__}: its body uses a traced array that is not among its arguments "  # type: ignore[attr-defined]
                f"(at {users_line()[0]}); pass it as an argument."
            )
    elif not hasattr(y, "dtype"):
        return y
    if node is not None and (kind := _kind(y.dtype)) != "floating":
        if kind == "complex":
            raise TypeError(
                f"{primitive.__name__}: its result is complex and depends on a differentiated input "  # type: ignore[attr-defined]
                f"(at {users_line()[0]}). Gradients are of real computations so far: write real and imaginary parts as two arrays."
            )
        node = None  # integers and booleans carry no gradient
    return cls(y, tape, node, slot)


def _enclosed(x: Any, cls: type[Traced]) -> Any:
    """x as a traced constant, where it is an array without a trace."""
    if type(x) in (list, tuple):
        return [_enclosed(part, cls) for part in x]
    return cls(x, CONSTANT) if hasattr(x, "dtype") and not isinstance(x, Traced) else x


_kinds: dict[tuple[type, Any], str] = {}  # by class too: dtypes of two libraries may not be compared


def _kind(dtype: Any) -> str:
    """ "floating", "complex" or "other" (integers and booleans)."""
    try:
        return _kinds[type(dtype), dtype]
    except KeyError:
        text = str(dtype)
        kind = _kinds[type(dtype), dtype] = "complex" if "complex" in text else "floating" if "float" in text else "other"
        return kind


def _flat(args: Iterable[Any]) -> Iterable[Any]:
    for x in args:
        if type(x) in (list, tuple):
            yield from x
        else:
            yield x


def backward(outputs: list[tuple[Node, int, Any]], leaves: list[Node | None]) -> list[Any]:
    """The gradient by each leaf (None: zero), from (node, output number, dy) of each output."""
    gradients = gradients_by_node(outputs)
    return [gradients.get(leaf.order, {}).get(0) if leaf is not None else None for leaf in leaves]


def next_order() -> int:
    """A number greater than the orders of all nodes there are, less than those of all to come."""
    return next(_orders)


def gradients_by_node(outputs: list[tuple[Node, int, Any]], kept: Collection[int] = (), since: int = 0) -> dict[int, dict[int, Any]]:
    """{order of a node: {output number: gradient}} of the leaves, of the nodes that are to be kept, and of those before `since`, where the way back ends.

    Each node is visited once.
    """
    gradients: dict[int, dict[int, Any]] = {}
    nodes: dict[int, Node] = {}
    heap: list[int] = []

    def add(node: Node, slot: int, dy: Any) -> None:
        if dy is None:
            return
        if node.order not in nodes:
            nodes[node.order] = node
            heapq.heappush(heap, -node.order)
        slots = gradients.setdefault(node.order, {})
        slots[slot] = slots[slot] + dy if slot in slots else dy

    for node, slot, dy in outputs:
        add(node, slot, dy)
    while heap:
        node = nodes[-heapq.heappop(heap)]
        if node.pull is None or node.order < since:
            continue
        slots = gradients[node.order] if node.order in kept else gradients.pop(node.order)
        if node.outputs is None:
            dys = [slots[0]]
        else:
            dys = [slots[i] if i in slots else zeros_of(y) for i, y in enumerate(node.outputs)]
        for (parent, slot), dx in zip(node.parents, node.pull(dys), strict=True):
            add(parent, slot, dx)
    return gradients


def zeros_of(y: Any) -> Any:
    """Zeros like y, an array, or a None for what is none."""
    return namespace(y).zeros_like(y) if hasattr(y, "dtype") else None
