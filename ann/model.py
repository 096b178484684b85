"""Model: a network with its parameters, its optimizer and its data; the one mutable object, with Keras's verbs."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import math
import os
import secrets
import signal
import time
from collections.abc import Callable, Iterable
from typing import Any

import backends
from ann import files, losses, markup, optimizers, registry
from ann.autodiff import grad
from ann.callbacks import History
from ann.layers.graph import Node, graph
from ann.layers.layer import Input, Layer, _Run, as_layer, build, walk
from ann.metrics import get as get_metric
from ann.training import data
from ann.training.backprop import Backprop, backpropagate
from ann.training.loop import Loop, check_callbacks
from ann.training.progress import Progress, Scores
from ann.training.signals import Deferred
from ann.training.source import Batches, Rows, is_batches
from ann.training.step import Tally, make_task, training_step
from ann.training.targets import Targets
from backends import library_of, namespace, tree
from backends.stream import Stream

Array = Any
Tree = Any


class Model:
    """A network that learns.

    net: a list of layers, or a layer; or Input(s), with outputs= the nodes wired from them (see `Graph`).
    backend: a name, a Backend, or None (the first data decide: arrays of CuPy, torch or JAX stay where they are; else
    $ANN_BACKEND, else NumPy). dtype: "float32" or "float64", of parameters and data. seed: an integer; None draws one and
    keeps it in model.seed.

    It is built (its parameters drawn) by the first data, or at once by a leading ann.Input(shape).
    """

    def __init__(
        self, net: Any, outputs: Any = None, *, backend: Any = None, dtype: str = "float32", precision: str | None = None,
        seed: int | None = None, name: str | None = None,
    ):  # fmt: skip
        if precision is not None:
            raise NotImplementedError(f"Model(precision={precision!r}): mixed precision is not there yet; dtype= chooses float32 or float64")
        if dtype not in ("float32", "float64"):
            raise ValueError(f'Model: dtype is "float32" or "float64", {dtype!r} came')
        if seed is not None and (not isinstance(seed, int) or seed < 0):
            raise ValueError(f"Model: seed is a non-negative integer, {seed!r} came")
        leading = None
        if outputs is not None:
            leading, net = net, graph(net, outputs)
        elif isinstance(net, Input | dict):
            raise TypeError("Model: an Input alone is no network; write Model([ann.Input(shape), layers…]), or Model(inputs, outputs) with nodes")
        elif isinstance(net, list | tuple) and net and isinstance(net[0], Input):
            leading, net = net[0], net[1:]
        self.net: Layer = as_layer(net)
        self.dtype = dtype
        self.seed = secrets.randbits(32) if seed is None else seed
        self.name = name
        self.backend: backends.Backend | None = None if backend is None else backends.get(backend, dtype=dtype)
        self.stop_training = False
        self._compiled: dict[str, Any] | None = None
        self._task: Any = None  # the Task: what compile chose, for this network
        self._input: Any = None  # the tree of Inputs that the network was built for
        self._built: Any = None
        self._chosen = backend is not None  # whether the backend is settled: by name, or by the first data
        self._programs: dict[Any, Any] = {}  # functions under jit, by what they are for
        self._under_jit = True
        self._mid_step = False
        # The whole of what training changes, replaced in one assignment.
        self._now: tuple[Tree, Tree, Tree, int] = ({}, {}, None, 0)
        self._frozen = ()
        self._epochs = 0
        if leading is not None:
            self._build(leading)

    # ------------------------------------------------------------------------------------------------- building

    @property
    def built(self) -> bool:
        """Whether the parameters have been drawn."""
        return self._built is not None

    def _build(self, inputs: Tree, given: dict[str, Any] | None = None) -> None:
        """Draw the parameters for a tree of Inputs; or take those given by a file."""
        if self.backend is None:
            self.backend = backends.get(dtype=self.dtype)
        self._input = tree.map(_as_integers, inputs, self._reads_indices(inputs))
        built = build(self.net, self._input, Stream(self.seed), self.backend, self.dtype, given)
        self._now = (built.params, built.state, None, 0)
        self._programs = {}
        self._built = dataclasses.replace(built, params=None, state=None)  # the first values are not held on to
        self._frozen = ()
        if self._compiled is not None:
            self._prepare()

    def _reads_indices(self, inputs: Tree) -> Tree:
        """For each input whether the network reads integers there as indices."""
        takes = self.net.takes_indices
        return tree.map(lambda _: takes is True, inputs) if isinstance(takes, bool) else takes

    def _decide_backend(self, x: Any) -> backends.Backend:
        """The model's backend: where none was asked for, the first data decide."""
        if not self._chosen:
            arrays = [leaf for leaf in data.leaves(x, self._input) if not data.is_plain(leaf)]
            if arrays and library_of(arrays[0]).name != "numpy":
                self.to(backends.of(arrays[0]).name)
            self._chosen = True
        if self.backend is None:
            self.backend = backends.get(dtype=self.dtype)
        return self.backend

    def _enter(self, x: Any, name: str = "x", finite: bool = True, on_disk: bool = False) -> Tree:
        """The inputs on the device, in the structure that the network takes; the first ones build it. on_disk: files may stay there."""
        be = self._decide_backend(x)
        indices = self.net.takes_indices

        def enter(a: Any, name: str, spec: Input | None) -> Array:
            as_integers = indices is True or (spec is not None and _is_integer(spec))
            made = lambda a: data.enter(a, be, self.dtype, name, indices=as_integers, finite=finite)
            return data.later(made, a) if on_disk else made(a)

        entered = data.map_data(enter, x, self._input, name)
        n = data.length(entered, name)
        if not self.built:
            self._build(tree.map(_spec, data.rows(entered, 0, min(n, 1))))
        return entered

    @property
    def outputs(self) -> list[str]:
        """The names of the outputs: of a dict its keys, of a tuple "0", "1", …; of one array ""."""
        self._must_be_built("outputs")
        return list(self._built.results)

    def _must_be_built(self, verb: str) -> None:
        if not self.built:
            raise ValueError(f"{verb}: the model has no parameters yet; fit builds it, or a leading ann.Input(shape) in the list of layers")

    # ------------------------------------------------------------------------------------------------- compiling

    def compile(self, optimizer: Any = "adam", loss: Any = None, metrics: Any = (), loss_weights: Any = None) -> None:
        """Say how to learn. Again: the weights stay, the optimizer starts anew.

        optimizer: a name or an ann.Adam(…). loss: a name, an object or a function (y_true, y_pred) → (n,) or scalar; for
        several outputs a dict, or a tuple in their order; so are loss_weights and metrics then. metrics: names, functions
        (y_true, y_pred) → (n,), or objects (see ann.metrics). See `Labels and logits` in the README for what a loss takes.
        """
        chosen = {
            "optimizer": optimizers.get(optimizer),
            "loss": loss,
            "metrics": list(metrics or ()) if metrics is None or isinstance(metrics, list | tuple) else metrics,
            "loss_weights": loss_weights,
        }
        for one in tree.leaves(loss):
            losses.get(one)
        for metric in tree.leaves(chosen["metrics"]):
            if metric is not None:
                get_metric(metric)
        before, self._compiled = self._compiled, chosen
        if self.built:
            try:
                self._prepare()
            except BaseException:  # what was compiled before goes on
                self._compiled = before
                raise

    def _prepare(self) -> None:
        assert self._compiled is not None
        chosen, task = self._compiled, None
        if chosen["loss"] is not None:
            task = make_task(self.net, self._built, self.outputs, chosen["loss"], chosen["loss_weights"], chosen["metrics"], self.program)
        self._task, self._programs = task, {}
        params, state, _, step = self._now
        self._now = (params, state, chosen["optimizer"].init(self._learning(params)), step)

    def _must_have_loss(self, verb: str, y: Any = None) -> None:
        if self._compiled is None or self._compiled["loss"] is None:
            described = f"   # y here is {_describe(y)}" if y is not None else ""
            raise ValueError(
                f'{verb}: the model has no loss. First: model.compile("adam", "categorical_crossentropy", metrics=["accuracy"]){described}'
            )

    def _learning(self, params: Tree) -> Tree:
        """The parameters that are not frozen."""
        return tree.unflatten({path: p for path, p in tree.flatten(params).items() if not self._is_frozen(path)})

    def _is_frozen(self, path: str) -> bool:
        """Whether this parameter is held, or this layer: all parameters in it are, or it has none and was named."""
        return path in self._held

    @property
    def _frozen(self) -> tuple[str, ...]:
        """The paths of the parameters and layers that `freeze` matched."""
        return self._frozen_paths

    @_frozen.setter
    def _frozen(self, paths: tuple[str, ...]) -> None:
        self._frozen_paths = paths
        params, layers, held = tree.paths(self._now[0]), dict(walk(self.net)), set(paths)
        held |= {path for path in params for place, layer in layers.items() if not layer.trainable and (not place or path.startswith(f"{place}/"))}
        for place in layers:
            below = [path for path in params if not place or path.startswith(f"{place}/")]
            if below:
                (held.add if held.issuperset(below) else held.discard)(place)
        self._held = frozenset(held)

    # ------------------------------------------------------------------------------------------------- training

    def fit(
        self, x: Any, y: Any = None, *, epochs: int = 1, batch_size: int = 32, validation_data: Any = None,
        validation_split: float = 0.0, shuffle: bool = True, class_weight: Any = None, sample_weight: Any = None,
        callbacks: Iterable[Any] = (), verbose: Any = "auto", jit: bool = True, steps_per_epoch: int | None = None,
        validation_steps: int | None = None,
    ) -> History:  # fmt: skip
        """Train for `epochs` more epochs and return their History.

        x, y: arrays, lists, frames, np.memmap, or dicts of them. Or x alone: an iterable of batches (x, y) or (x, y, sample_weight),
        as they come (batch_size and shuffle do not apply), made ready by a thread; what can begin anew does so each epoch, a
        generator serves one epoch, or with steps_per_epoch as many as it lasts.
        validation_data: (x, y), (x, y, sample_weight) or an iterable of batches; validation_split: the share of the rows at the
        end to hold out, if there are no validation_data. Weights: one a row, or a dict or tuple for several outputs; a batch whose
        weights are all 0 has loss and gradient 0 and is a step all the same, as in Keras: momentum moves on, weights decay.
        Ctrl-C, or an error, leaves the model as after the last whole step; where an error came when a compiled step had begun to
        write in place, it says so, and the model is as at the last reading. FloatingPointError when the loss is not finite: the
        parameters are then those of the last finite reading.
        """
        self._must_have_loss("fit", y)
        for name, value in (("epochs", epochs), ("batch_size", batch_size)):
            if not hasattr(value, "__index__") or value < (name == "batch_size"):
                raise ValueError(f"fit: {name} is a {'positive' if name == 'batch_size' else 'non-negative'} integer, {value!r} came")
        epochs, batch_size = int(epochs), int(batch_size)
        source: Rows | Batches
        if y is None and is_batches(x):
            if sample_weight is not None or validation_split:
                raise ValueError("fit: of an iterable of batches, sample weights come with them, (x, y, sample_weight), and validation_data is given by itself")
            source = self._batches(x, steps_per_epoch, class_weight)
        else:
            _of_iterables("fit", steps_per_epoch, "steps_per_epoch", "an epoch is ")
            parts = self._parts(x, y, sample_weight, class_weight)
            n = data.length(parts[0], "x")
            if validation_data is not None:
                validation_split = 0.0  # as in Keras
            if validation_split:
                if not 0 < validation_split < 1:
                    raise ValueError(f"fit: validation_split is a share between 0 and 1, {validation_split!r} came")
                kept = n - int(n * validation_split)
                if kept == n:
                    raise ValueError(f"fit: validation_split={validation_split!r} of {n} rows is none")
                held_out, parts, n = [data.cut(part, kept, n) for part in parts], tuple(data.cut(part, 0, kept) for part in parts), kept
            if n == 0:
                raise ValueError("fit: x has no rows")
            source = Rows(self._backend(), parts, batch_size, shuffle)
        validation: Rows | Batches | None = None
        if validation_split:
            validation = Rows(self._backend(), tuple(held_out), batch_size, False)
        elif validation_data is not None:
            validation = self._validation(validation_data, batch_size, validation_steps)
        validate = None
        if validation is not None:
            validate = lambda: {f"val_{name}": value for name, value in self._evaluate(validation).items()}
        history = History()
        self._under_jit = jit
        try:
            Loop(self, source, validate, epochs, [*check_callbacks(callbacks), history, Progress(verbose)], verbose).run()
        finally:
            self._under_jit = True
        return history

    def _parts(self, x: Any, y: Any, sample_weight: Any, class_weight: Any, name: str = "", on_disk: bool = True) -> tuple[Tree, Tree, Tree]:
        """(x, y, weights), checked and on the device; what is on the disk may stay there."""
        x = self._enter(x, f"{name}x", on_disk=on_disk)
        targets = self._targets
        y = targets.enter(y, f"{name}y")
        n, m = data.length(x, f"{name}x"), data.length(y, f"{name}y")
        if n != m:
            raise ValueError(f"{name}x has {n} rows, {name}y has {m}")
        return x, y, targets.weights(y, sample_weight, class_weight)

    @property
    def _targets(self) -> Targets:
        return Targets(self._backend(), self.dtype, self._task.losses, self._built.results)

    def _batches(self, x: Any, steps: int | None, class_weight: Any = None, anew: bool = False, name: str = "") -> Batches:
        """An iterable of (x, y) or (x, y, sample_weight) as a source; the first batch builds the model."""

        def ready(batch: Any) -> tuple[Tree, Tree, Tree]:
            if not isinstance(batch, tuple | list) or len(batch) not in (2, 3):
                raise ValueError(f"{name}x: a batch is (x, y) or (x, y, sample_weight); {data.kind(batch)} came")
            return self._parts(batch[0], batch[1], batch[2] if len(batch) == 3 else None, class_weight, f"{name}batch ", on_disk=False)

        source = Batches(x, ready, steps=steps, anew=anew, name=f"{name}x")
        ready(source.peek())
        return source

    def train_on_batch(self, x: Any, y: Any = None, sample_weight: Any = None, class_weight: Any = None) -> Scores:
        """One step on one batch; the loss and metrics before the step, as Python floats."""
        self._must_have_loss("train_on_batch", y)
        parts = self._parts(x, y, sample_weight, class_weight, on_disk=False)
        tally = Tally(self._task)
        try:
            with Deferred(signal.SIGINT):
                tally.add(self._advance(self._step(), *parts))
        except BaseException as error:
            if self._mid_step:
                error.add_note("train_on_batch: the step had begun to write, so the model is no longer as it was; load_weights or model.params = … sets it back")
                self._mid_step = False
            raise
        return Scores(tally.values())

    def _step(self) -> Callable[..., Any]:
        """The training step for what compile chose and what is frozen, compiled once for all fits; it writes in place."""
        assert self._compiled is not None
        task, optimizer, held = self._task, self._compiled["optimizer"], self._held
        step = lambda: training_step(task, optimizer, held.__contains__, self._built.constraints, Stream(self.seed)["train"])
        if not self._under_jit:
            return step()
        return self._program(("step", optimizer, held, self.seed), lambda: backends.jit(step(), donate=(0, 1, 2)))

    def _program(self, key: Any, make: Callable[[], Any]) -> Any:
        """A function under jit that the model keeps, until it is compiled or built anew."""
        if key not in self._programs:
            self._programs[key] = make()
        return self._programs[key]

    def _advance(self, step: Callable[..., Any], x: Tree, y: Tree, w: Any) -> dict[str, Any]:
        params, state, slots, number = self._now
        self._mid_step = self._under_jit  # what was donated may be half written until the step returns
        try:
            params, state, slots, terms = step(params, state, slots, x, y, w, number)
        except BaseException as error:
            self._mid_step = self._under_jit and not step.spares(error)  # type: ignore[attr-defined]
            raise
        self._now = (params, state, slots, number + 1)
        self._mid_step = False
        return terms  # type: ignore[no-any-return]

    def _snapshot(self) -> tuple[Tree, Tree, Tree, int]:
        """Copies of all that training changes."""
        params, state, slots, number = self._now
        params, state, slots = tree.map(lambda a: namespace(a).asarray(a, copy=True), (params, state, slots))
        return params, state, slots, number

    def _validation(self, given: Any, batch_size: int, steps: int | None) -> Rows | Batches:
        if isinstance(given, tuple | list) and len(given) in (2, 3) and not is_batches(given):
            parts = self._parts(given[0], given[1], given[2] if len(given) == 3 else None, None, "validation ")
            if data.length(parts[0], "validation x") == 0:
                raise ValueError("fit: validation x has no rows")
            return Rows(self._backend(), parts, batch_size, False)
        if is_batches(given):
            return self._batches(given, steps, anew=True, name="validation ")
        raise ValueError("fit: validation_data is (x, y), (x, y, sample_weight), or an iterable of such batches")

    # ------------------------------------------------------------------------------------------------- using

    def evaluate(
        self, x: Any, y: Any = None, *, batch_size: int = 256, sample_weight: Any = None, verbose: Any = 0, steps: int | None = None
    ) -> Scores:  # fmt: skip
        """(loss, metrics…) over the data, as Python floats: a tuple that also answers by name. x alone: an iterable of batches, as in fit.

        steps: how many batches of an iterable are taken; None: all.
        """
        self._must_have_loss("evaluate", y)
        if y is None and is_batches(x):
            scores = Scores(self._evaluate(self._batches(x, steps, anew=True)))
        else:
            _of_iterables("evaluate", steps)
            parts = self._parts(x, y, sample_weight, None)
            if data.length(parts[0], "x") == 0:
                raise ValueError("evaluate: x has no rows")
            scores = Scores(self._evaluate(Rows(self._backend(), parts, batch_size, False)))
        if verbose:
            print(scores)
        return scores

    def _evaluate(self, source: Rows | Batches) -> dict[str, float]:
        params, state, _, _ = self._now
        tally, task = Tally(self._task), self._task
        terms = self._program("terms", lambda: backends.jit(lambda params, state, x, y, w: task.terms(y, task.run(params, state).output(x), w)[1]))
        with contextlib.closing(source.batches()) as batches:
            for x, y, w in batches:
                tally.add(terms(params, state, x, y, w))
        return tally.values()

    def __call__(self, x: Any) -> Any:
        """Inference on one batch, pure of checks for NaN; the result stays on the device."""
        if any(isinstance(leaf, Node | Input) for leaf in tree.leaves(x)):
            raise TypeError("a Model holds its own weights and is no layer; its layers are model.net: model.net(node) uses them in another graph, with new weights")
        x = self._enter(x, finite=False)
        return self._output(x)

    def _output(self, x: Any) -> Any:
        net = self.net
        return self._program("output", lambda: backends.jit(lambda params, state, x: _Run(net, params, state).output(x)))(*self._now[:2], x)

    def predict(self, x: Any, batch_size: int = 256, verbose: Any = 0, steps: int | None = None) -> Any:
        """The network's output for every row, in the library and on the device of x (lists, frames, files and iterables give NumPy).

        steps: how many batches of an iterable are taken; None: all.
        """
        started = time.perf_counter()
        y = self._predict(x, batch_size, self._output, steps)
        if verbose:
            print(f"predict: {data.length(y, 'y'):,} rows   {time.perf_counter() - started:.1f} s")
        return y

    def predict_proba(self, x: Any, batch_size: int = 256) -> Any:
        """Probabilities: the outputs through the link of the loss (softmax, sigmoid)."""
        self._must_have_loss("predict_proba")
        return self._predict(x, batch_size, self._linked)

    def predict_class(self, x: Any, batch_size: int = 256) -> Any:
        """Integer labels: the most probable class; of outputs through a sigmoid whether each probability is above ½."""
        self._must_have_loss("predict_class")

        def decide(x: Any) -> Any:
            links = [getattr(self._task.losses.get(name), "link", None) for name in self._task.names]
            probabilities = self._linked(x)
            decided = [_decided(p, link == "sigmoid") for p, link in zip(tree.leaves(probabilities), links, strict=True)]
            return tree.fill(probabilities, decided)

        return self._predict(x, batch_size, decide)

    def _linked(self, x: Any) -> Any:
        task = self._task

        def linked(params: Tree, state: Tree, x: Any) -> Any:
            z = task.run(params, state).output(x)
            return tree.fill(z, list(task.predictions(z).values()))

        return self._program("linked", lambda: backends.jit(linked))(*self._now[:2], x)

    def _predict(self, x: Any, batch_size: int, f: Callable[[Any], Any], steps: int | None = None) -> Any:
        if is_batches(x) and not isinstance(x, list):
            with contextlib.closing(Batches(x, lambda batch: self._enter(self._without_targets(batch)), steps=steps, anew=True).batches()) as batches:
                return _joined([tree.map(self._backend().to_numpy, f(batch)) for batch in batches])
        _of_iterables("predict", steps)
        entered = self._enter(x, on_disk=True)
        n, parts = data.length(entered, "x"), []
        with contextlib.closing(Rows(self._backend(), (entered,), batch_size, False).batches()) as batches:
            for (batch,) in batches if n else [[data.rows(entered, 0, 0)]]:
                fill = batch_size - data.length(batch, "x")
                if fill and n > batch_size:  # one batch size: the same bits for a row wherever it stands
                    batch = tree.map(lambda a, fill=fill: namespace(a).concat([a, namespace(a).repeat(a[-1:, ...], fill, axis=0)], axis=0), batch)
                parts.append(data.rows(f(batch), 0, batch_size - fill))
        return self._returned(_joined(parts), x)

    def _without_targets(self, batch: Any) -> Any:
        """The x of a batch (x, y) or (x, y, sample_weight); a batch of another form is x."""
        several = isinstance(self._input, tuple | list)
        return batch[0] if isinstance(batch, tuple | list) and len(batch) in (2, 3) and not several else batch

    def _returned(self, y: Tree, x: Any) -> Tree:
        """Arrays in the library and on the device of the data x; NumPy for what is no array of a library."""
        origin = data.leaves(x, self._input)[0]
        if data.is_plain(origin):
            return tree.map(self._backend().to_numpy, y)
        library, be = library_of(origin), self._backend()
        there = library is be.library and library.device_of(origin) == be.device
        return y if there else backends.move(y, backends.of(origin))

    # ------------------------------------------------------------------------------------------------- looking in

    @property
    def params(self) -> Tree:
        """The parameters, as a read-only tree of copies: model.params["dense"]["kernel"]."""
        return _read_only(self._now[0], "params")

    @params.setter
    def params(self, values: Tree) -> None:
        self._must_be_built("params")
        self._replace(tree.flatten(values), whole=True)

    @property
    def state(self) -> Tree:
        """The running values, as a read-only tree of copies."""
        return _read_only(self._now[1], "state")

    def assign(self, path: str, value: Any) -> None:
        """Set one parameter: model.assign("dense_1/kernel", w). Name and shape are checked first."""
        self._must_be_built("assign")
        self._replace({path: value}, whole=False)

    def _replace(self, values: dict[str, Any], whole: bool) -> None:
        params, state, slots, step = self._now
        flat = tree.flatten(params)
        if wrong := sorted(values.keys() - flat.keys()):
            raise ValueError(f"assign: no parameter {', '.join(wrong)}; the parameters are {', '.join(flat)}")
        if whole and (missing := sorted(flat.keys() - values.keys())):
            raise ValueError(f"model.params = tree: {', '.join(missing)} missing; model.assign(path, w) sets one parameter")
        new = {path: data.enter(value, self._backend(), self.dtype, path) if getattr(value, "shape", None) != () and not isinstance(value, int | float) else self._backend().asarray(value) for path, value in values.items()}
        for path, value in new.items():
            if tuple(value.shape) != tuple(flat[path].shape):
                raise ValueError(f"assign: {path} has shape {tuple(flat[path].shape)}, {tuple(value.shape)} came")
        copies = {path: namespace(value).asarray(value, copy=True) for path, value in new.items()}
        self._now = (tree.unflatten(flat | copies), state, slots, step)

    def freeze(self, *patterns: str) -> None:
        """Hold what is under these paths constant: globs ("conv*", "block_1/*"). No gradient, no slots; layers that are held run as in inference."""
        self._frozen = tuple(dict.fromkeys((*self._frozen, *self._matched("freeze", patterns))))
        self._keep_slots()

    def unfreeze(self, *patterns: str) -> None:
        """Let what is under these paths learn again."""
        freed = self._matched("unfreeze", patterns)
        self._frozen = tuple(path for path in self._frozen if path not in freed)
        self._keep_slots()

    def _matched(self, verb: str, patterns: tuple[str, ...]) -> list[str]:
        """The paths of parameters and layers that match the globs. ValueError for a glob that matches nothing."""
        self._must_be_built(verb)
        params, layers = tree.paths(self._now[0]), [path for path, _ in walk(self.net) if path]
        found: dict[str, None] = {}
        for pattern in patterns:
            matching = [path for path in (*layers, *params) if tree.matches(path, pattern)]
            if not matching:
                raise ValueError(f"{verb}: no layer or parameter matches {pattern!r}; there are {', '.join(layers)}, with the parameters {', '.join(params)}")
            found |= dict.fromkeys(matching)
        return list(found)

    def _keep_slots(self) -> None:
        """Slots for exactly the trainable parameters: those that stay keep theirs."""
        params, state, slots, step = self._now
        if self._compiled is None or slots is None:
            return
        old, new = tree.flatten(slots), self._compiled["optimizer"].init(self._learning(params))
        kept = [old.get(path, value) for path, value in tree.flatten(new).items()]
        self._now = (params, state, tree.fill(new, kept), step)

    @property
    def learning_rate(self) -> float:
        """The learning rate of the next step; settable, also with a schedule (which then is replaced by the number)."""
        slots = self._now[2]
        if self._compiled is None or (slots is None and callable(self._compiled["optimizer"].learning_rate)):
            raise ValueError("learning_rate: the model is not compiled and built yet")
        return float(self._compiled["optimizer"].learning_rate if slots is None else self._compiled["optimizer"].rate(slots))

    @learning_rate.setter
    def learning_rate(self, value: float) -> None:
        params, state, slots, step = self._now
        if self._compiled is None:
            raise ValueError("learning_rate: the model is not compiled yet")
        if not (hasattr(value, "__float__") and 0 <= float(value) < math.inf):
            raise ValueError(f"learning_rate is a non-negative number, {value!r} came; a schedule goes into the optimizer: ann.Adam(schedule)")
        if slots is None:
            self._compiled["optimizer"] = self._compiled["optimizer"].with_rate(float(value))
            return
        if callable(getattr(self._compiled["optimizer"], "learning_rate", None)):
            self._compiled["optimizer"] = self._compiled["optimizer"].with_rate(float(value))
        rate = slots["learning_rate"]
        if rate is not None:
            rate = namespace(rate).full_like(rate, float(value))
        self._now = (params, state, {**slots, "learning_rate": rate}, step)

    def gradients(self, x: Any, y: Any, wrt: str = "params") -> Tree:
        """∂(mean loss)/∂params as a tree; wrt="input" by x; a glob ("dense_1/*") for some of the parameters. As in inference."""
        self._must_have_loss("gradients", y)
        entered = self._enter(x)
        targets = self._targets.enter(y, "y")
        task = dataclasses.replace(self._task, metrics={})
        params, state, _, _ = self._now

        def loss(p: Tree, x: Tree) -> Any:
            return task.terms(targets, task.run(p, state).output(x), {})[0]

        if wrt == "input":
            return self._returned(grad(loss, argnums=1)(params, entered), x)
        chosen = None if wrt == "params" else self._matched("gradients", (wrt,))
        flat = tree.flatten(grad(loss)(params, entered))
        return tree.unflatten({path: g for path, g in flat.items() if chosen is None or path in chosen})

    def activations(self, x: Any, layers: str = "*") -> dict[str, Array]:
        """{path: array} of each output of a layer, and of each ctx.record, whose path matches the glob; in inference.

        The second use of a shared layer is "dense#2"; of a layer with several outputs they are "layer/key".
        """
        entered = self._enter(x)
        found: dict[str, Array] = {}
        uses: dict[str, int] = {}

        def keep(layer: Layer, path: str, y: Any) -> Any:
            uses[path] = uses.get(path, 0) + 1
            name = path if uses[path] == 1 else f"{path}#{uses[path]}"
            if path:
                found.update({f"{name}/{key}" if key else name: part for key, part in tree.flatten(y).items()})
            return y

        run = _Run(self.net, *self._now[:2], observe=keep)
        run.output(entered)
        found |= run.records
        chosen = {path: y for path, y in found.items() if tree.matches(path, layers)}
        if not chosen:
            raise ValueError(f"activations: nothing matches {layers!r}; there are {', '.join(found)}")
        return self._returned(chosen, x)  # type: ignore[no-any-return]

    def backprop(self, x: Any, y: Any) -> Backprop:
        """Backpropagation laid open, as in inference: every intermediate with its y and dy, the gradient of the loss by it. print() it."""
        self._must_have_loss("backprop", y)
        x, targets, _ = self._parts(x, y, None, None, on_disk=False)
        return backpropagate(self._task, *self._now[:2], x, targets)

    def summary(self, print_fn: Callable[[str], Any] = print, *, batch_size: int = 1) -> None:
        """Print the layers: path, class, shape of the output, number of parameters; the cost of an inference on so many examples."""
        self._must_be_built("summary")
        title, lines, total = self._layers()
        widths = [max(len(line[i]) for line in lines) for i in range(3)]
        for line in (title, *(f"  {a:<{widths[0]}}   {b:<{widths[1]}}   {c:>{widths[2]}}" for a, b, c in lines), total):
            print_fn(line)
        program = self.program(batch_size)
        print_fn(f"inference on {batch_size}: {program.flops:,} FLOPs, {program.bytes:,} bytes of activations")

    def program(self, batch_size: int = 1) -> backends.Program:
        """What inference on so many examples computes, as a list of instructions: print it. Nothing is computed."""
        self._must_be_built("program")
        net = self.net

        def like(a: Array) -> backends.Spec:
            return backends.Spec(tuple(a.shape), str(a.dtype).rpartition(".")[2])

        x = tree.map(lambda i: backends.Spec((batch_size, *i.shape), i.dtype or self.dtype), self._input)
        params, state = (tree.map(like, values) for values in self._now[:2])
        return backends.jit(lambda params, state, x: _Run(net, params, state).output(x)).trace(params, state, x)  # type: ignore[no-any-return]

    def _layers(self) -> tuple[str, list[tuple[str, str, str]], str]:
        """A title, a head and a line for each layer, the number of parameters."""
        flat = {path: math.prod(p.shape) for path, p in tree.flatten(self._now[0]).items()}
        lines = [("layer", "output", "parameters")]
        for path, layer, shape in self._built.outputs:
            if not path:
                continue
            own = sum(size for name, size in flat.items() if name.rpartition("/")[0] == path)
            shown = ", ".join(f"{key} {_batch(s)}" for key, s in shape.items()) if isinstance(shape, dict) else _batch(shape)
            lines.append((f"{path}  {type(layer).__name__}", shown, f"{own:,}"))
        total = sum(flat.values())
        learning = sum(size for path, size in flat.items() if not self._is_frozen(path))
        counted = f"{total:,} parameters" + (f", {learning:,} of them trainable" if learning != total else "")
        return f"{self.name or 'Model'} on {self._backend().name}, {self.dtype}", lines, counted

    def _repr_html_(self) -> str:
        if not self.built:
            return markup.table(["Model, not built"], [[repr(part)] for part in getattr(self.net, "layers", [self.net])])
        title, (head, *lines), total = self._layers()
        return markup.table(head, lines, f"{title}: {total}")

    def __getstate__(self) -> dict[str, Any]:
        """For pickle and copy: all but the compiled programs, which the copy makes anew."""
        return {**self.__dict__, "_programs": {}}

    def __repr__(self) -> str:
        where = self.backend.name if self.backend else "no backend yet"
        return f"Model({self.net!r}, {where}{'' if self.built else ', not built'})"

    # ------------------------------------------------------------------------------------------------- moving, files

    def to(self, backend: Any) -> Model:
        """Move the model to another backend, in place; the model is returned."""
        target = backends.get(backend, dtype=self.dtype)
        self._chosen = True
        params, state, slots, step = self._now
        self._now = (backends.move(params, target), backends.move(state, target), backends.move(slots, target), step)
        self.backend = target
        return self

    def _backend(self) -> backends.Backend:
        assert self.backend is not None
        return self.backend

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write weights, running values, optimizer and configuration to one safetensors file; the old file is kept until it is whole.

        TypeError for a function without a name that could be found again (a lambda).
        """
        self._must_be_built("save")
        config: dict[str, Any] = {"net": registry.encode(self.net), "dtype": self.dtype, "name": self.name, "input": registry.encode(self._input), "counters": self._counters()}
        if self._compiled is not None:
            config["compiled"] = registry.encode(self._compiled)
        files.write(path, self._tensors(), {"ann.model": json.dumps(config)})

    def save_weights(self, path: str | os.PathLike[str]) -> None:
        """Write the parameters and running values alone."""
        self._must_be_built("save_weights")
        files.write(path, self._tensors("params", "state"), {})

    def load_weights(self, path: str | os.PathLike[str], only: str = "*") -> None:
        """Read parameters and running values (those whose path matches `only`) from a file; names and shapes are checked first."""
        self._must_be_built("load_weights")
        tensors, _ = files.read(path)
        parts = [
            self._fitting(path, part, held, tensors, only)
            for part, held in zip(("params", "state"), self._now, strict=False)
        ]
        if not any(tree.matches(path, only) for held in self._now[:2] for path in tree.paths(held)):
            raise ValueError(f"load_weights: no parameter matches {only!r}; there are {', '.join(tree.paths(self._now[0]))}")
        self._now = (*parts, *self._now[2:])

    def _tensors(self, *parts: str) -> dict[str, Any]:
        """{"params/dense/kernel": …}: what training changes, as host arrays; all of it, or these parts."""
        held = dict(zip(("params", "state", "slots"), self._now, strict=False))
        return {f"{part}/{key}": self._backend().to_numpy(x) for part in parts or held for key, x in tree.flatten(held[part]).items()}

    def _counters(self) -> dict[str, Any]:
        """What training changes besides the tensors, and the seed of its streams."""
        return {"seed": self.seed, "step": self._now[3], "epochs": self._epochs, "frozen": list(self._frozen), "slots": self._now[2] is not None}

    def _fill(self, path: Any, tensors: dict[str, Any], counters: dict[str, Any]) -> None:
        """Take all that training changes from a file; everything is checked before anything is set."""
        for name in ("seed", "step", "epochs"):
            if type(counters[name]) is not int or counters[name] < 0:
                raise files.FileError(f"{path}: {name} is {counters[name]!r}, a non-negative integer is wanted")
        if not isinstance(counters["frozen"], list) or not all(isinstance(pattern, str) for pattern in counters["frozen"]):
            raise files.FileError(f"{path}: the frozen paths are {counters['frozen']!r}, a list of texts is wanted")
        before = self._frozen
        self._frozen = tuple(counters["frozen"])
        try:
            params, state, slots, _ = self._now
            if self._compiled is not None and counters["slots"]:
                slots = self._compiled["optimizer"].init(self._learning(params))
            parts = {"params": params, "state": state} | ({"slots": slots} if counters["slots"] else {})
            parts = {part: self._fitting(path, part, held, tensors) for part, held in parts.items()}
        except BaseException:
            self._frozen = before
            raise
        self.seed, self._epochs = counters["seed"], counters["epochs"]
        self._now = (parts["params"], parts["state"], parts.get("slots", slots), counters["step"])

    def _fitting(self, path: Any, part: str, held: Tree, tensors: dict[str, Any], only: str = "*") -> Tree:
        """The tensors of a file under "part/", on the device, in the tree that the model holds. FileError where they do not fit it."""
        be = self._backend()
        wanted = {key: x for key, x in tree.flatten(held).items() if tree.matches(key, only)}
        given = {key.removeprefix(f"{part}/"): x for key, x in tensors.items() if key.startswith(f"{part}/")}
        given = {key: x for key, x in given.items() if tree.matches(key, only)}
        if given.keys() != wanted.keys():
            raise files.FileError(f"{path}: under {part} the file has {', '.join(sorted(given)) or 'nothing'}, the model needs {', '.join(sorted(wanted)) or 'nothing'}")
        for key, own in wanted.items():
            x = given[key]
            if tuple(x.shape) != tuple(own.shape):
                raise files.FileError(f"{path}: {key} has shape {tuple(x.shape)}, the model's is {tuple(own.shape)}")
            kind = backends.host.dtype(str(own.dtype).rpartition(".")[2]).kind
            if x.dtype.kind != kind:
                raise files.FileError(f"{path}: {key} is {x.dtype}, the model's is {own.dtype}")
            if kind == "f" and part == "params" and not backends.host.isfinite(x).all():
                raise files.FileError(f"{path}: {key} is not finite")
        return tree.fill(held, [be.library.put(given[key], be.device, x.dtype) if key in given else x for key, x in tree.flatten(held).items()])


def load(path: str | os.PathLike[str], *, backend: Any = None, custom: Any = ()) -> Model:
    """The model that `save` wrote: weights, running values, optimizer, step and seed; on any backend.

    custom: the classes and functions of your own that the model uses; nothing is imported by name from the file.
    FileError when the file is damaged or does not fit.
    """
    tensors, metadata = files.read(path)
    if "ann.model" not in metadata:
        raise files.FileError(f"{path}: the file holds weights but no model; build the model and use model.load_weights(path)")
    known = registry.known(custom)
    try:
        config = json.loads(metadata["ann.model"])
        model = Model(registry.decode(config["net"], known), backend=backend, dtype=config["dtype"], seed=config["counters"]["seed"], name=config["name"])
        model._build(registry.decode(config["input"], known), tensors)
        if "compiled" in config:
            model.compile(**registry.decode(config["compiled"], known))
        model._fill(path, tensors, config["counters"])
    except (files.FileError, registry.UnknownName, backends.BackendUnavailable):
        raise
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError, RecursionError) as error:
        raise files.FileError(f"{path}: the model's description is damaged: {type(error).__name__}: {error}") from error
    return model


def _of_iterables(verb: str, steps: int | None, name: str = "steps", whole: str = "it is ") -> None:
    """ValueError for a number of steps where arrays came."""
    if steps is not None:
        raise ValueError(f"{verb}: {name} is for an iterable of batches; with arrays {whole}all rows")


def _spec(x: Array) -> Input:
    return Input(tuple(x.shape[1:]), str(x.dtype).rpartition(".")[2])


def _is_integer(spec: Input) -> bool:
    return spec.dtype is not None and not spec.dtype.startswith("float")


def _as_integers(spec: Input, indices: bool) -> Input:
    """An Input whose dtype is not said: integers where the network reads indices."""
    return dataclasses.replace(spec, dtype="int64") if indices and spec.dtype is None else spec


class ReadOnly(dict):  # type: ignore[type-arg]
    """A dict of copies that refuses assignment, because it would not reach the model."""

    def _refuse(self, *args: Any, **kwargs: Any) -> Any:
        raise TypeError('these are copies; model.assign("dense/kernel", w) sets one parameter, model.params = tree all of them')

    __setitem__ = __delitem__ = update = pop = popitem = clear = setdefault = __ior__ = _refuse  # type: ignore[assignment]

    def __reduce__(self) -> Any:
        """A pickle or a deep copy is a plain dict, to change and to hand back: model.params = tree."""
        return dict, (dict(self),)


def _read_only(values: Tree, name: str) -> Tree:
    if isinstance(values, dict):
        return ReadOnly({key: _read_only(value, name) for key, value in values.items()})
    return namespace(values).asarray(values, copy=True)


def _describe(y: Any) -> str:
    """What y looks like, for a message: integer labels 0…9."""
    try:
        y = backends.host.asarray(y)
    except (TypeError, ValueError):
        return type(y).__name__
    if y.dtype.kind in "iub" and y.size:
        return f"integer labels {int(y.min())}…{int(y.max())}" if y.ndim == 1 else f"integers of shape {y.shape}"
    return f"{y.dtype} of shape {y.shape}"


def _joined(parts: list[Tree]) -> Tree:
    """The rows of several trees, one after the other."""
    return tree.map(lambda *pieces: pieces[0] if len(pieces) == 1 else namespace(*pieces).concat(list(pieces), axis=0), *parts)


def _decided(p: Array, one_by_one: bool) -> Array:
    """Labels from probabilities (n, …, k): the largest of k; one by one where each is a question of its own, or there is one."""
    xp = namespace(p)
    if p.shape[-1] > 1 and not one_by_one:
        return xp.argmax(p, axis=-1)
    return xp.astype((xp.squeeze(p, axis=-1) if p.shape[-1] == 1 else p) > 0.5, xp.int32)


def _batch(shape: tuple[int, ...]) -> str:
    return f"(n{''.join(f', {size}' for size in shape[1:])})"


__all__ = ["Backprop", "Model", "load"]
