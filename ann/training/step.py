"""The training step, once: forward, loss, gradient, update. Everything that trains goes through it.

    L(p) = Σ over outputs  λ·(Σ w·ℓ / Σ w)  + penalty        p ← optimizer(p, ∂L/∂p)

It is a pure function of trees of arrays. What it reports are sums, (Σ w·value, Σ w) of each loss and metric, so that an
epoch adds them up on the device (`Tally`) and reads them once: a mean of batch means would be wrong for a short last batch.
"""

from __future__ import annotations

import dataclasses
import functools
import operator
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from ann import functions, losses, metrics
from ann.autodiff import value_and_grad
from ann.layers.basic import Activation
from ann.layers.layer import Built, Function, Layer, _Run
from backends import host, library_of, namespace, tree
from backends.gaps import device
from backends.program.program import VIEWS, Instruction, Program
from backends.stream import Stream

Array = Any
Tree = Any
PENALTY = "(penalty)"  # its key among the sums, which no metric can have


@dataclass(frozen=True)
class Task:
    """What is computed from a network's outputs: a loss, weights and metrics for each output by its name (one has the name "")."""

    net: Layer
    swaps: dict[str, Layer]  # layers that stand in for those of the network, so that it ends before its last softmax or sigmoid
    names: list[str]  # of the outputs, in the order of their leaves
    link: dict[str, Callable[[Array], Array]]  # what makes predictions of the outputs
    losses: dict[str, Any]
    weights: dict[str, float]
    metrics: dict[str, list[tuple[str, Any]]]

    def run(self, params: Tree, state: Tree, **options: Any) -> _Run:
        """A pass through the network up to what the losses take: logits, where they do."""
        return _Run(self.net, params, state, swaps=self.swaps, **options)

    def named(self, output: Tree) -> dict[str, Array]:
        return dict(zip(self.names, tree.leaves(output), strict=True))

    def predictions(self, z: Tree) -> dict[str, Array]:
        """What metrics and users see: the outputs through the link of their loss."""
        return {name: self.link[name](part) if name in self.link else part for name, part in self.named(z).items()}

    def terms(self, y: dict[str, Array], z: Tree, w: dict[str, Array], penalty: Any = 0.0) -> tuple[Array, dict[str, Any]]:
        """(L, terms) of a batch: L to differentiate; terms["sums"] to add up over batches; terms["kept"] for metrics of the whole."""
        outputs = self.named(z)
        objective: Any = None
        sums: dict[str, Any] = {}
        kept: dict[str, Any] = {}
        penalized = hasattr(penalty, "shape") or penalty
        for name, loss in self.losses.items():
            total, weight = losses.sums(loss, y[name], outputs[name], w.get(name))
            share, mean = self.weights.get(name, 1.0), divided(total, weight)
            part = mean if share == 1.0 else share * mean
            objective = part if objective is None else objective + part
            sums[joined(name, "loss")] = total, weight
            n = _rows(outputs[name])
            if penalized:
                sums[PENALTY] = constant(0.0, total) + penalty * float(n), constant(n, total)
        for name, listed in self.metrics.items():
            prediction = self.link[name](outputs[name]) if listed else None
            for label, metric in listed:
                if getattr(metric, "whole", False):
                    kept[name] = (y[name], prediction, w.get(name))
                elif hasattr(metric, "sums"):
                    sums[joined(name, label)] = metric.sums(y[name], prediction, w.get(name))
                elif isinstance(metric, losses.Loss) and metric.reduction in ("mean", "none"):
                    sums[joined(name, label)] = losses.sums(dataclasses.replace(metric, reduction="mean"), y[name], prediction, w.get(name))
                else:
                    sums[joined(name, label)] = metric_sums(metric(y[name], prediction), w.get(name), _rows(prediction))
        return objective + penalty if penalized else objective, {"sums": sums, "kept": kept}


class Tally:
    """What the batches of an epoch add up to: sums on the device, numbers of NumPy in double precision; reading `values` waits for it."""

    def __init__(self, task: Task, sums: dict[str, Any] | None = None, kept: Iterable[dict[str, Any]] = ()):
        self.task = task
        self.added = sums
        self.waiting: list[dict[str, Any]] = []  # sums of batches, to be added to these: a hundred at once cost a third
        self.kept = list(kept)

    def add(self, terms: dict[str, Any]) -> None:
        self.waiting.append(terms["sums"])
        if terms["kept"]:
            self.kept.append(terms["kept"])
        if len(self.waiting) == 128:
            self.added, self.waiting = self.sums, []

    @property
    def sums(self) -> dict[str, Any] | None:
        """Those of all batches so far, added in their order."""
        if not self.waiting:
            return self.added
        return summed([*([] if self.added is None else [self.added]), *self.waiting])  # type: ignore[no-any-return]

    def copy(self) -> Tally:
        """As it stands."""
        return Tally(self.task, self.sums, self.kept)

    def values(self, whole: bool = True) -> dict[str, float]:
        """{"loss": …, "digit_loss": …, "digit_accuracy": …} as Python floats; whole=False leaves out metrics of the whole epoch."""
        task = self.task
        sums = tree.map(lambda x: library_of(x).fetch(x) if hasattr(x, "dtype") else host.asarray(x), self.sums or {})
        means = {name: float(pair[0]) / float(pair[1]) if float(pair[1]) else 0.0 for name, pair in sums.items() if isinstance(pair, tuple)}
        found = {"loss": sum(task.weights.get(name, 1.0) * means[joined(name, "loss")] for name in task.losses) + means.get(PENALTY, 0.0)}
        found |= {joined(name, "loss"): means[joined(name, "loss")] for name in task.losses if name}
        for name, listed in task.metrics.items():
            for label, metric in listed:
                key = joined(name, label)
                if getattr(metric, "whole", False):
                    if whole and self.kept:
                        found[key] = _python(metric(*tree.map(lambda *parts: namespace(*parts).concat(list(parts), axis=0), *[part[name] for part in self.kept])))
                else:
                    found[key] = means[key] if key in means else _python(metric.value(sums[key]))
        return found

    def names(self, whole: bool = True) -> list[str]:
        """The keys of `values`, which reads nothing."""
        task = self.task
        listed = [joined(name, label) for name, some in task.metrics.items() for label, metric in some if whole or not getattr(metric, "whole", False)]
        return ["loss", *(joined(name, "loss") for name in task.losses if name), *listed]


def summed(batches: list[Any]) -> Any:
    """Trees added up leaf by leaf, in their order: 0-d arrays of NumPy as Python floats, which costs no wait and adds in double precision."""
    last = batches[-1]
    if type(last) is dict:
        return {key: summed([batch[key] for batch in batches]) for key in last}
    if type(last) is tuple:
        return tuple([summed([batch[k] for batch in batches]) for k in range(len(last))])
    if last is None or isinstance(last, dict | list | tuple):
        return tree.map(lambda *column: summed(list(column)), *batches)
    numbers = not hasattr(last, "shape") or (last.shape == () and library_of(last).name == "numpy")
    return functools.reduce(operator.add, map(float, batches) if numbers else batches)


def _python(value: Any) -> Any:
    """A number as a Python float; of a metric that gives several, nested lists."""
    value = library_of(value).fetch(value) if hasattr(value, "dtype") else value
    return value.tolist() if getattr(value, "shape", ()) else float(value)


def joined(output: str, label: str) -> str:
    return f"{output}_{label}" if output else label


def divided(total: Array, weight: Array) -> Array:
    """total/weight; 0 where the weight is 0: nothing counts."""
    xp = namespace(weight)
    return total / xp.where(weight > 0, weight, xp.ones_like(weight))


def metric_sums(values: Array, w: Array | None, n: int) -> tuple[Array, Array]:
    """(Σ w·value, Σ w) of one value an example; a scalar counts for all n of the batch."""
    xp = namespace(values)
    if values.ndim == 0:
        return values * float(n), constant(n, values)
    values = losses.per_example(values)
    return (xp.sum(values), constant(n, values)) if w is None else (xp.sum(values * w), xp.sum(w))


def constant(number: float, like: Array) -> Array:
    """A number as a 0-d array beside another array."""
    return namespace(like).full((), float(number), dtype=like.dtype, device=device(like))


def _rows(x: Array) -> int:
    return int(x.shape[0])


def training_step(task: Task, optimizer: Any, frozen: Callable[[str], bool], constraints: dict[str, Any], stream: Stream) -> Callable[..., Any]:
    """step(params, state, slots, x, y, w, number) → (params, state, slots, terms): pure, to be run eagerly or under jit.

    Frozen parameters pass through. number: which step it is, an integer or a 0-d array; it addresses the random numbers.
    """

    def step(params: Tree, state: Tree, slots: Tree, x: Tree, y: Tree, w: Tree, number: Any) -> Any:
        flat = tree.flatten(params)
        fixed = tree.unflatten({path: p for path, p in flat.items() if frozen(path)})
        learning = tree.unflatten({path: p for path, p in flat.items() if not frozen(path)})

        def objective(p: Tree, fixed: Tree, state: Tree, x: Tree, y: Tree, w: Tree) -> Any:
            run = task.run(tree.merge(p, fixed), state, training=True, random=stream.at(number), frozen=frozen)
            z = run.output(x)
            total, terms = task.terms(y, z, w, run.penalty)
            return total, (terms, tree.unflatten(run.state))

        (_, (terms, after)), gradients = value_and_grad(objective, has_aux=True)(learning, fixed, state, x, y, w)
        learning, slots = optimizer.step(learning, gradients, slots)
        new = flat | {path: constraints[path](p) if path in constraints else p for path, p in tree.flatten(learning).items()}
        return tree.unflatten(new), after, slots, terms

    return step


# ------------------------------------------------------------------------------------------------- what compile decides

LINKS: dict[str, Callable[[Array], Array]] = {"softmax": functions.softmax, "sigmoid": functions.sigmoid}


def link_of(layer: Layer) -> str | None:
    """The name of the softmax or sigmoid that a layer ends in; None where there is none."""
    which = layer.function if isinstance(layer, Function) else getattr(layer, "activation", None)
    if not (isinstance(which, str) or callable(which)):
        return None
    return next((name for name, function in LINKS.items() if which in (name, function)), None)


def before_link(layer: Layer) -> Layer | None:
    """The layer without the activation it ends in; None where a class is not known to end in it."""
    if isinstance(layer, Function):
        return dataclasses.replace(layer, function=functions.identity)
    if isinstance(layer, Activation):
        return dataclasses.replace(layer, activation=functions.identity)
    if not layer.ends_in_activation:
        return None
    return dataclasses.replace(layer, activation=None)  # type: ignore[call-arg]


PROBABILITIES = (*LINKS, "hard_sigmoid")  # formulas whose values are probabilities
PRODUCTS = ("matmul", "tensordot", "vecdot", "einsum", "scan")


def probabilities_of(program: Program, k: int, link: str) -> tuple[str | None, bool]:
    """(the softmax or sigmoid that gives output k, True); or (link, False) where output k is computed further from that one.

    It is looked for up to the last product of matrices or convolution: what comes after that are logits. (None, True) where there is none.
    """
    made = {out: i for i in program.body for out in i.outs}

    def formula(i: Instruction) -> str | None:
        region = i.region
        while region is not None and region.outer is not None and region.outer.part != "layer":
            region = region.outer
        return region.name if region is not None and region.part != "layer" and region.name in PROBABILITIES else None

    y = program.outputs[k]
    while y in made and formula(made[y]) is None and made[y].name in VIEWS:
        y = made[y].args[0]
    if y in made and (name := formula(made[y])):
        return name, True
    seen, waiting = set(), [y]
    while waiting:
        y = waiting.pop()
        if y not in made or y in seen or made[y].name in PRODUCTS or "float" not in program.values[y].dtype:
            continue
        if formula(made[y]) == link:
            return link, False
        seen.add(y)
        waiting += made[y].reads
    return None, True


def make_task(net: Layer, built: Built, names: list[str], loss: Any, loss_weights: Any, wanted: Any, program: Callable[[], Program]) -> Task:
    """Settle what `compile` was given: losses by name or object, the link between outputs and predictions, metrics.

    program: what the network computes in inference; it tells whether the outputs are probabilities.
    """
    given = by_output(loss, names, "loss")
    chosen: dict[str, Any] = {}
    links: dict[str, Callable[[Array], Array]] = {}
    swaps: dict[str, Layer] = {}
    traced: Program | None = None
    for name, one in given.items():
        chosen[name], k = losses.get(one), names.index(name)
        if getattr(chosen[name], "from_logits", False):
            traced = traced or program()
            chosen[name], links[name], swap = _settle(one, chosen[name], built.ends[k], probabilities_of(traced, k, chosen[name].link), f"output {name!r}" if name else "the network")
            swaps |= swap
        else:
            link = None if hasattr(chosen[name], "from_logits") else getattr(chosen[name], "link", None)
            links[name] = functions.identity if link is None else functions.activation(link)
    listed = {}
    for name, items in _metrics_by_output(wanted, names, list(chosen)).items():
        items = items if isinstance(items, list | tuple) else [] if items is None else [items]
        listed[name] = list(zip(metrics.labels(items), [_metric(item, chosen.get(name)) for item in items], strict=True))
    weights = {name: float(value) for name, value in (by_output(loss_weights, names, "loss_weights") if loss_weights else {}).items()}
    if unknown := sorted(set(weights) - set(chosen)):
        raise ValueError(f"compile: loss_weights name {', '.join(unknown)}; the losses are {', '.join(chosen)}")
    return Task(net, swaps, names, links, chosen, weights, listed)


def _metric(given: Any, loss: Any) -> Any:
    """The metric; a crossentropy by its name leaves out the class that the loss leaves out."""
    found, ignored = metrics.get(given), getattr(loss, "ignore_class", None)
    if isinstance(given, str) and isinstance(found, losses.CategoricalCrossentropy) and ignored is not None:
        return dataclasses.replace(found, ignore_class=ignored)
    return found


def by_output(given: Any, names: list[str], what: str) -> dict[str, Any]:
    """{name of the output: what was given for it}: of a dict by name, of a tuple or list in order, of one thing for one output."""
    if isinstance(given, dict):
        flat = tree.flatten(given)
        if unknown := sorted(flat.keys() - set(names)):
            raise ValueError(f"compile: {what} names {', '.join(unknown)}; the outputs are {', '.join(names) if names != [''] else 'one, without a name'}")
        return flat
    if isinstance(given, list | tuple):
        if len(given) != len(names):
            raise ValueError(f"compile: {what} has {len(given)} entries, the outputs are {len(names)}")
        return {name: part for name, part in zip(names, given, strict=True) if part is not None}
    if len(names) == 1:
        return {names[0]: given}
    raise ValueError(f'compile: the network has outputs {", ".join(names)}; {what} is a dict with one for each, e.g. {{{names[0]!r}: {"0.3" if what == "loss_weights" else "…"}}}')


def _settle(
    given: Any, loss: Any, end: tuple[str, Layer, bool], probabilities: tuple[str | None, bool], output: str
) -> tuple[Any, Callable[[Array], Array], dict[str, Layer]]:  # fmt: skip
    """(loss, link, swaps) for a loss of logits and an output that ends so: a loss by name takes the value before a softmax or sigmoid."""
    (path, layer, alone), (last, certain), kind = end, probabilities, type(loss).__name__
    if last is None or (not certain and not isinstance(given, str)):
        return loss, functions.activation(loss.link), {}
    if not certain:
        raise ValueError(
            f"{output} computes further with what a {last} gives, so {given!r} cannot know whether its outputs are probabilities. "
            f"Say so: {kind}(from_logits=False) if they are, {kind}(from_logits=True) if they are not."
        )
    ends = link_of(layer) == last
    if not isinstance(given, str):
        told = f'{layer!r} already gives probabilities, but the loss expects logits. Remove the "{last}"' if ends else (
            f"{output} already gives probabilities, by a {last}, but the loss expects logits. Remove it"
        )  # fmt: skip
        raise ValueError(f"{told}, or write {kind}(from_logits=False).")
    before = before_link(layer) if alone and ends and last == loss.link else None
    if before is None:
        return dataclasses.replace(loss, from_logits=False), functions.identity, {}
    return loss, LINKS[last], {path: before}


def _metrics_by_output(wanted: Any, names: list[str], chosen: list[str]) -> dict[str, Any]:
    if isinstance(wanted, dict):
        if unknown := sorted(set(wanted) - set(chosen)):
            raise ValueError(f"compile: metrics name {', '.join(map(repr, unknown))}; the outputs are {', '.join(chosen)}")
        return wanted
    if len(names) > 1 and isinstance(wanted, list | tuple) and len(wanted) == len(names) and all(isinstance(part, list | tuple) for part in wanted):
        return {name: part for name, part in zip(names, wanted, strict=True) if name in chosen}
    return dict.fromkeys(chosen, wanted)
