"""A layer: frozen configuration and one method, `call(x, ctx)`; and the context, which finds its parameters.

    class Residual(ann.Layer):
        hidden: ann.Layer
        out: ann.Layer
        def call(self, x, ctx):
            return x + self.out(self.hidden(x, ctx), ctx)

A layer holds no arrays. `init` draws its parameters as a tree of arrays, `apply` computes with a tree that is given.
The same `call` serves building (on abstract arrays: shapes follow from running it), inference and training.
"""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, ClassVar

import backends
from ann import constraints, initializers, regularizers
from ann.autodiff import stop_gradient
from ann.names import snake_case
from backends import namespace, tree
from backends.program import Spec, calls, shape_of
from backends.program.abstract import Abstract
from backends.program.calls import Made, Origin
from backends.stream import Stream

Array = Any
Tree = Any


NAMED = {"initializer": initializers, "regularizer": regularizers, "constraint": constraints}  # by how a layer's field ends


@dataclass(frozen=True)
class Input:
    """What a network takes: the shape of one example (the batch axis is left out) and its dtype ("float32", "int64", …).

    ann.Input((28, 28, 1));  ann.Input(4) is ann.Input((4,)). layer(ann.Input(4)) is a node of a graph, see `Graph`; of a list of
    inputs each may have a name, by which a dict of data finds it.
    """

    shape: tuple[int, ...]
    dtype: str | None = None
    name: str | None = None

    def __post_init__(self) -> None:
        shape = (self.shape,) if isinstance(self.shape, int) else tuple(self.shape)
        if not all(isinstance(n, int) and n >= 0 for n in shape):
            raise ValueError(f"Input: shape is a tuple of sizes without the batch axis, {self.shape!r} came")
        object.__setattr__(self, "shape", shape)


@typing.dataclass_transform(frozen_default=True, kw_only_default=False)
@dataclass(frozen=True, eq=False, repr=False)
class Layer:
    """The base of all layers. Subclasses become frozen dataclasses: their annotated fields are their configuration.

    A field that holds a layer, or a tuple of them, is a child; its name in the tree of parameters is the field's name.
    Every layer takes name= and trainable=False (its parameters are constants, and it runs as in inference).
    """

    name: str | None = field(default=None, kw_only=True)
    trainable: bool = field(default=True, kw_only=True)
    takes_indices: ClassVar[bool] = False  # True where integers are indices; elsewhere a Model makes floats of them
    output_names: ClassVar[list[str] | None] = None  # of several outputs, where they are not their paths
    ends_in_activation: ClassVar[bool] = False  # True where the field `activation` is the last thing that call applies

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        written = "__repr__" in cls.__dict__
        dataclass(frozen=True, eq=False, repr=False)(cls)
        cls.__setattr__ = Layer._refuse  # type: ignore[method-assign, assignment]
        if not written:
            cls.__repr__ = Layer.__repr__  # type: ignore[method-assign]

    def __post_init__(self) -> None:
        if self.name is not None and ("/" in self.name or not self.name):
            raise ValueError(f'{type(self).__name__}: name {self.name!r}: a name is not empty and has no "/", which separates names in paths')
        for item in dataclasses.fields(self):  # type: ignore[arg-type]
            value = getattr(self, item.name)
            if (named := NAMED.get(item.name.rpartition("_")[2])) is not None:
                named.get(value)  # a name that is unknown is refused here, not when data come
            if "Layer" in str(item.type) and not isinstance(value, Layer) and value is not None:
                object.__setattr__(self, item.name, as_layers(value))

    def _refuse(self, name: str, value: Any) -> None:
        path = self.name or self.stem
        advice = f'model.{"un" if value else ""}freeze("{path}")' if name == "trainable" else f"dataclasses.replace(layer, {name}={value!r}) makes another one"
        raise AttributeError(f"layer.{name} = {value!r}: layers are frozen configuration; {advice}.")

    def call(self, x: Any, ctx: Context) -> Any:
        """The output for the input x; parameters, state and randomness come from ctx."""
        raise NotImplementedError(f"{type(self).__name__} has no method call(self, x, ctx)")

    def __call__(self, x: Any, ctx: Context | None = None) -> Any:
        if isinstance(ctx, Context):
            return ctx.enter(self, x)
        from ann.layers.graph import Node  # a graph is made of layers, and defined on a page after this one

        if any(isinstance(leaf, Node | Input) for leaf in tree.leaves(x)):
            return Node(self, x)
        raise TypeError(
            f"{type(self).__name__} is configuration and holds no parameters. Inside call: layer(x, ctx). Outside: "
            "params, state = layer.init(x); y = layer.apply(params, x); or ann.Model(layer). layer(ann.Input(…)) is a node of a graph."
        )

    def __repr__(self) -> str:
        parts, positional = [], True
        for item in sorted(dataclasses.fields(self), key=lambda f: bool(f.kw_only)):  # type: ignore[arg-type]
            value = getattr(self, item.name)
            required = item.default is dataclasses.MISSING and item.default_factory is dataclasses.MISSING
            if required or value != item.default:
                parts.append(_show(value) if positional and not item.kw_only else f"{item.name}={_show(value)}")
            else:
                positional = False
        return f"{type(self).__name__}({', '.join(parts)})"

    @property
    def stem(self) -> str:
        """What its automatic name begins with."""
        return snake_case(type(self).__name__)

    @property
    def children(self) -> dict[str, Layer]:
        """The layers in the fields, by the path of each below this one."""
        found: dict[str, Layer] = {}
        for item in dataclasses.fields(self):  # type: ignore[arg-type]
            value = getattr(self, item.name)
            if isinstance(value, Layer):
                found[item.name] = value
            elif isinstance(value, tuple) and any(isinstance(part, Layer) for part in value):
                found |= {f"{item.name}/{i}": part for i, part in enumerate(value) if isinstance(part, Layer)}
        return found

    def init(self, x: Any, seed: int | Stream = 0, backend: Any = None) -> tuple[Tree, Tree]:
        """(params, state): nested dicts of arrays for inputs like x (an array, an ann.Input, or a tree of them).

        Parameters are drawn on the host from the stream of their path, so the same seed gives the same weights on every
        backend, whatever other layers there are. They have the float dtype of x; else the backend's.
        """
        built = build(self, x, seed, backend)
        return built.params, built.state

    def apply(self, params: Tree, x: Any, state: Tree = None) -> Any:
        """The output in inference: a pure function of (params, x, state)."""
        return _Run(self, params, state).output(x)

    def apply_training(self, params: Tree, x: Any, *, state: Tree = None, random: Stream | None = None) -> tuple[Any, Training]:
        """(output, out) in training: out.state (the next running values), out.penalty (to add to the loss), out.records."""
        run = _Run(self, params, state, training=True, random=random)
        y = run.output(x)
        return y, Training(tree.unflatten(run.state), run.penalty, run.records)


@dataclass(frozen=True)
class Training:
    """What a forward pass in training gives besides its output."""

    state: Tree
    penalty: Any
    records: dict[str, Array]


class Function(Layer):
    """Any function x → y as a layer without parameters."""

    function: Callable[[Any], Any]

    def call(self, x: Any, ctx: Context) -> Any:
        return self.function(x)

    def __repr__(self) -> str:
        return getattr(self.function, "__name__", repr(self.function))

    @property
    def stem(self) -> str:
        return snake_case(repr(self)) or "function"


class Sequential(Layer):
    """Layers one after the other: y = fₙ(… f₂(f₁(x)))."""

    layers: tuple[Layer, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "layers", tuple(as_layer(part) for part in self.layers))
        seen: dict[int, int] = {}
        for i, layer in enumerate(self.layers):
            if id(layer) in seen:
                raise ValueError(
                    f"Sequential: layers {seen[id(layer)]} and {i} are the same object {layer!r}. Two of their own: write it twice. "
                    "Shared weights: a layer of your own whose call uses one field twice."
                )
            seen[id(layer)] = i

    @property
    def children(self) -> dict[str, Layer]:
        return automatic_names(self.layers)

    @property
    def takes_indices(self) -> bool:  # type: ignore[override]
        return bool(self.layers) and self.layers[0].takes_indices

    def call(self, x: Any, ctx: Context) -> Any:
        for layer in self.layers:
            x = layer(x, ctx)
        return x


def as_layer(part: Any) -> Layer:
    """A layer as it is; a list of layers as Sequential; a function as a layer without parameters."""
    if isinstance(part, Layer):
        return part
    if isinstance(part, list | tuple):
        return Sequential(tuple(part))
    if isinstance(part, type) and issubclass(part, Layer):
        raise TypeError(f"{part.__name__} is a class; write {part.__name__}(…)")
    if isinstance(getattr(part, "net", None), Layer):
        raise TypeError("a Model holds its own weights and is no layer; model.net is its network: ann.Model([model.net, …]) has new weights, which assign can set")
    if callable(part):
        return Function(part)
    if isinstance(part, Input):
        raise TypeError("an Input stands first in the list of a Model, ann.Model([ann.Input(4), …]), or is what layers are called on: layer(ann.Input(4))")
    raise TypeError(f"a layer, a list of layers or a function x → y is wanted; {type(part).__name__} {part!r} came")


def as_layers(value: Any) -> Any:
    """What a field annotated as Layer(s) holds: a tuple of layers stays one, a list is Sequential, a function a layer."""
    return tuple(map(as_layer, value)) if isinstance(value, tuple) else as_layer(value)


def automatic_names(layers: tuple[Layer, ...]) -> dict[str, Layer]:
    """{name: layer}: each by its own name, else by its class as in Keras: dense, dense_1, conv2d."""
    names: dict[str, Layer] = {}
    for layer in layers:
        if layer.name is not None:
            if layer.name in names:
                raise ValueError(f"two layers have the name {layer.name!r}")
            names[layer.name] = layer
            continue
        stem = layer.stem
        name, count = stem, 0
        taken = {other.name for other in layers if other.name is not None} | names.keys()
        while name in taken:
            count += 1
            name = f"{stem}_{count}"
        names[name] = layer
    return names


class Context:
    """Where a layer is called: what it asks for its parameters, its state and its randomness."""

    __slots__ = ("_layer", "_names", "_run", "path", "training")

    def __init__(self, run: _Run, layer: Layer, path: str, training: bool):
        self._run, self._layer, self.path, self.training = run, layer, path, training
        self._names = {id(child): name for name, child in layer.children.items()}

    def call(self, x: Any) -> Any:
        """The layer's output for x. What it raises says in a note in which layer, the innermost, and for what x."""
        try:
            if not calls.active:
                return self._layer.call(x, self)
            with calls.region(self.path, calls.new_region(), "layer", {}):
                return self._layer.call(x, self)
        except Exception as error:
            if not any(note.startswith("in the layer ") for note in getattr(error, "__notes__", ())):
                error.add_note(f"in the layer {self._who}, where x is {_describe(x)}{self._run.stage}")
            raise

    def enter(self, child: Layer, x: Any) -> Any:
        """child(x) in its own context: what `child(x, ctx)` does."""
        name = self._names.get(id(child))
        if name is None:
            raise ValueError(
                f"{self._who}: {child!r} is called here but is no field of {type(self._layer).__name__}. A layer is made in the "
                "constructor and held in a field, so that its parameters have a place in the tree."
            )
        path = f"{self.path}/{name}" if self.path else name
        return self._run.call(child, path, x, self.training)

    def param(self, name: str, shape: tuple[int, ...], init: Any, constraint: Any = None, regularizer: Any = None) -> Array:
        """The parameter of this name: drawn when the network is built; afterwards looked up, and its shape checked."""
        w = self._run.parameter(self, self._full(name), tuple(shape), init, constraint)
        if (penalty := regularizers.get(regularizer)) is not None and self.training:
            self.penalty(penalty(w))
        return w

    def state(self, name: str, shape: tuple[int, ...], init: Any) -> Array:
        """The running value of this name, as the last update left it."""
        return self._run.running(self, self._full(name), tuple(shape), init)

    def update(self, name: str, value: Array) -> None:
        """The next running value; only while training."""
        if not self.training:
            raise ValueError(f"{self._who}: ctx.update({name!r}) outside training; guard it with `if ctx.training:`")
        if self._full(name) not in self._run.state:
            raise ValueError(f"{self._who}: ctx.update({name!r}): there is no ctx.state({name!r}, …)")
        self._run.state[self._full(name)] = stop_gradient(value)

    def penalty(self, value: Any) -> None:
        """A scalar to add to the loss."""
        self._run.penalty = self._run.penalty + value

    def record(self, name: str, value: Array) -> None:
        """Keep an array for pictures and for model.activations."""
        self._run.records[self._full(name)] = value

    @property
    def random(self) -> Stream:
        """The random numbers of this layer in this step: a function of (seed, path, step), never advanced."""
        if self._run.random is None:
            raise ValueError(f"{self._who} draws random numbers: apply_training needs random=, e.g. ann.Stream(0)['train'].at(step)")
        stream = self._run.random
        for part in filter(None, self.path.split("/")):
            stream = stream[part]
        return stream

    def _full(self, name: str) -> str:
        return f"{self.path}/{name}" if self.path else name

    @property
    def _who(self) -> str:
        return who(self._layer, self.path)


def who(layer: Layer, path: str) -> str:
    """How messages name a layer: Dense 'dense_1'."""
    return f"{type(layer).__name__} '{path}'" if path else type(layer).__name__


class _Run:
    """One pass through a network: in inference or in training."""

    stage: ClassVar[str] = ""  # what messages say of the pass

    def __init__(
        self, net: Layer, params: Tree, state: Tree, *, training: bool = False, random: Stream | None = None,
        frozen: Callable[[str], bool] | None = None, observe: Callable[[Layer, str, Any], Any] | None = None,
        swaps: dict[str, Layer] | None = None,
    ):  # fmt: skip
        self.net, self.training, self.random, self.frozen, self.observe = net, training, random, frozen, observe
        self.swaps = swaps or {}  # {path: the layer that stands in for the one there}
        self.params = tree.flatten(params)
        self.state = tree.flatten(state)
        self.penalty: Any = 0.0
        self.records: dict[str, Any] = {}

    def output(self, x: Any) -> Any:
        return self.call(self.net, "", x, self.training)

    def call(self, layer: Layer, path: str, x: Any, training: bool) -> Any:
        layer = self.swaps.get(path, layer)
        training = training and layer.trainable and not (self.frozen is not None and self.frozen(path))
        y = Context(self, layer, path, training).call(x)
        return y if self.observe is None else self.observe(layer, path, y)

    def parameter(self, ctx: Context, path: str, shape: tuple[int, ...], init: Any, constraint: Any) -> Array:
        w = self.params.get(path)
        if w is None:
            raise ValueError(f"{ctx._who}: the tree has no parameter {path!r}; it has {', '.join(self.params) or 'none'}")
        if tuple(w.shape) != shape:
            raise ValueError(_misfit(ctx, path, tuple(w.shape), shape))
        return w if ctx.training or not self.training else stop_gradient(w)

    def running(self, ctx: Context, path: str, shape: tuple[int, ...], init: Any) -> Array:
        value = self.state.get(path)
        if value is None:
            raise ValueError(f"{ctx._who}: no running value {path!r}; pass state=, the second result of init")
        if tuple(value.shape) != shape:
            raise ValueError(_misfit(ctx, path, tuple(value.shape), shape))
        return value


def _misfit(ctx: Context, path: str, held: tuple[int, ...], wanted: tuple[int, ...]) -> str:
    name = path.rpartition("/")[2]
    if len(held) == len(wanted) >= 2 and held[-1] == wanted[-1]:
        return (
            f"{ctx._who}: x has {wanted[-2]} features, its {name} {held} takes {held[-2]}. "
            f"The model was built for inputs (…, {held[-2]})."
        )
    return f"{ctx._who}: its {name} has shape {held}, {wanted} is wanted for this input"


class Build(_Run):
    """The first pass, on abstract arrays: draws the parameters (or takes those given), and notes the shape of each output."""

    stage = "; the network is being built, for a batch of 2 without data"

    def __init__(self, net: Layer, stream: Stream, be: backends.Backend, dtype: str, given: dict[str, Any] | None):
        super().__init__(net, {}, {}, training=True, random=None)
        self.stream, self.be, self.dtype, self.given = stream, be, dtype, given
        self.like: Any = None
        self.constraints: dict[str, Any] = {}
        self.outputs: list[tuple[str, Layer, Any]] = []
        self.shapes: dict[str, tuple[int, ...]] = {}
        self.drawn: dict[str, Any] = {}
        self.running_values: dict[str, Any] = {}
        self.random = stream["build"].at(0)
        self.makers: dict[int, tuple[str, Layer, Any]] = {}  # of each array the innermost layer that returned it

    def call(self, layer: Layer, path: str, x: Any, training: bool) -> Any:
        y = Context(self, layer, path, training).call(x)
        self.outputs.append((path, layer, tree.map(lambda a: tuple(a.shape), y)))
        for leaf in tree.leaves(y):
            self.makers.setdefault(id(leaf), (path, layer, leaf))
        return y

    def output(self, x: Any) -> Any:
        self.result = super().output(x)
        return self.result

    def parameter(self, ctx: Context, path: str, shape: tuple[int, ...], init: Any, constraint: Any) -> Array:
        if not all(isinstance(n, int) for n in shape):
            raise TypeError(f"{ctx._who}: the shape of {path!r} is {shape}; sizes are integers")
        if self.shapes.setdefault(path, shape) != shape:
            raise ValueError(f"{ctx._who}: {path!r} is asked for with shape {shape} and with {self.shapes[path]}")
        if path not in self.drawn:
            self.drawn[path] = self._draw("params", path, shape, init)
            if constraint is not None:
                self.constraints[path] = constraints.get(constraint)
        return self._abstract(shape)

    def running(self, ctx: Context, path: str, shape: tuple[int, ...], init: Any) -> Array:
        if path not in self.running_values:
            self.running_values[path] = self._draw("state", path, shape, init)
        self.state.setdefault(path, self._abstract(shape))
        return self.state[path]

    def _draw(self, kind: str, path: str, shape: tuple[int, ...], init: Any) -> Array:
        if self.given is not None:
            drawn = self.given.get(f"{kind}/{path}")
            if drawn is None or tuple(drawn.shape) != shape:
                raise ValueError(f"{kind}/{path}: shape {shape} is wanted, {'nothing' if drawn is None else tuple(drawn.shape)} is given")
        else:
            stream = self.stream
            for part in path.split("/"):
                stream = stream[part]
            drawn = initializers.get(init)(shape, stream)
        return self.be.library.put(backends.host.asarray(drawn, dtype=self.dtype), self.be.device, None)

    def _abstract(self, shape: tuple[int, ...]) -> Array:
        xp = namespace(self.like)
        return xp.empty(shape, dtype=getattr(xp, self.dtype))

    @property
    def built(self) -> Built:
        leaves = tree.leaves(self.result)
        makers = [self.makers[id(leaf)][:2] for leaf in leaves]
        uses = [path for path, _, _ in self.outputs]
        read = read_for([*leaves, self.penalty, *self.state.values()])
        ends = [
            (path, layer, uses.count(path) == [p for p, _ in makers].count(path) and leaf.origin.key not in read)
            for (path, layer), leaf in zip(makers, leaves, strict=True)
        ]
        shapes = dict(zip(self.net.output_names or tree.paths(self.result), (tuple(leaf.shape) for leaf in leaves), strict=True))
        return Built(tree.unflatten(self.drawn), tree.unflatten(self.running_values), self.outputs, self.constraints, shapes, ends)


@dataclass(frozen=True)
class Built:
    """What building a network gives: its parameters and state, the shape of each layer's output, the constraints."""

    params: Tree
    state: Tree
    outputs: list[tuple[str, Layer, Any]]
    constraints: dict[str, Any]
    results: dict[str, tuple[int, ...]]  # the shape of each output of the network, by its name
    ends: list[tuple[str, Layer, bool]]  # for each of them the layer that made it, and whether that layer makes nothing else, and nothing reads it


def build(net: Layer, x: Any, seed: int | Stream = 0, backend: Any = None, dtype: str | None = None, given: dict[str, Any] | None = None) -> Built:
    """Run the network once on abstract arrays like x, and draw its parameters and running values.

    given: {"params/dense/kernel": …, "state/…": …}, host arrays to take instead; nothing is allocated for those that do not fit.
    """
    leaves = tree.leaves(x)
    arrays = [leaf for leaf in leaves if not isinstance(leaf, Input) and hasattr(leaf, "dtype")]
    be = backends.get(backend) if backend is not None or not arrays else backends.of(arrays[0])
    if dtype is None:
        floats = [str(a.dtype).rpartition(".")[2] for a in arrays]
        dtype = next((name for name in floats if name in ("float32", "float64")), _name_of(be))
    stream = seed if isinstance(seed, Stream) else Stream(seed)

    def spec(leaf: Any) -> Any:
        if isinstance(leaf, Input):
            return Spec((2, *leaf.shape), leaf.dtype or dtype)
        if not hasattr(leaf, "dtype"):
            leaf = backends.host.asarray(leaf)
        name = str(leaf.dtype).rpartition(".")[2]
        return Spec((2, *leaf.shape[1:]) if leaf.ndim else (), dtype if name.startswith("float") else name)  # no shape depends on the batch

    run = Build(net, stream["init"], be, dtype, given)

    def first_pass(x: Any) -> Any:
        run.like = tree.leaves(x)[0]
        return run.output(x)

    shape_of(first_pass, tree.map(spec, x), backend="numpy")
    return run.built


def read_for(results: list[Any]) -> set[Any]:
    """The keys of the origins of all arrays that were read on the way to these abstract arrays."""
    read: set[Any] = set()
    waiting = [x.origin for x in results if isinstance(x, Abstract)]
    while waiting:
        x = waiting.pop()
        if isinstance(x, Made):
            parts = [part for part in tree.leaves(list(x.call.arguments)) if isinstance(part, Origin) and part.key not in read]
            read.update(part.key for part in parts)
            waiting += parts
    return read


def _name_of(be: backends.Backend) -> str:
    return "float64" if be.dtype == be.library.dtype("float64") else "float32"


def walk(net: Layer, path: str = "") -> Iterator[tuple[str, Layer]]:
    """(path, layer) of a network and all layers in it."""
    yield path, net
    for name, child in net.children.items():
        yield from walk(child, f"{path}/{name}" if path else name)


def _describe(x: Tree) -> str:
    """The arrays of an input, for a message: float32 (8, 3)."""
    shown = {path: f"{str(a.dtype).rpartition('.')[2]} {tuple(a.shape)}" if hasattr(a, "shape") else repr(a) for path, a in tree.flatten(x).items()}
    return ", ".join(f"{path}: {one}" if path else one for path, one in shown.items())


def _show(value: Any) -> str:
    if isinstance(value, tuple) and value and all(isinstance(part, Layer) for part in value):
        return f"[{', '.join(map(repr, value))}]"
    if isinstance(value, str):
        return f'"{value}"'
    return repr(value) if not callable(value) or isinstance(value, Layer) else getattr(value, "__name__", repr(value))
