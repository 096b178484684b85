"""The training step, once: forward, loss, gradient, update. Everything that trains goes through it.

    L(p) = loss(y, net(x; p)) + penalty        p ← optimizer(p, ∂L/∂p)

It is a pure function of trees of arrays; losses and metrics accumulate as (Σ w·value, Σ w) on the device.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ann import functions, losses, metrics
from ann.autodiff import value_and_grad
from ann.layers.basic import Activation, Dense
from ann.layers.layer import Function, Layer, Sequential, _Run
from backends import namespace, tree

Array = Any
Tree = Any


@dataclass(frozen=True)
class Task:
    """What is computed from a network's outputs: a loss, weights and metrics for each output (one has the name "")."""

    net: Layer  # the network up to the logits
    link: dict[str, Callable[[Array], Array]]  # what makes predictions of logits
    losses: dict[str, Any]
    weights: dict[str, float]
    metrics: dict[str, list[tuple[str, Any]]]

    def named(self, output: Tree) -> dict[str, Array]:
        return output if isinstance(output, dict) else {"": output}

    def terms(self, y: Tree, z: Tree, w: Array | None) -> dict[str, Any]:
        """{"loss": …, "digit_loss": …, "digit_accuracy": …}: the mean over the batch, weighted by w."""
        targets, outputs = self.named(y), self.named(z)
        found: dict[str, Any] = {}
        total: Any = 0.0
        for name, loss in self.losses.items():
            value = loss(targets[name], outputs[name], sample_weight=w)
            if name:
                found[f"{name}_loss"] = value
            total = total + self.weights.get(name, 1.0) * value
        for name, listed in self.metrics.items():
            prediction = self.link[name](outputs[name])
            for label, metric in listed:
                found[f"{name}_{label}" if name else label] = weighted_mean(metric(targets[name], prediction), w)
        return {"loss": total, **found}


def weighted_mean(values: Array, w: Array | None) -> Array:
    """Σ w·value / Σ w over the batch; a scalar stays what it is."""
    xp = namespace(values)
    if values.ndim == 0:
        return values
    if values.ndim > 1:
        values = xp.mean(values, axis=tuple(range(1, values.ndim)))
    if w is None:
        return xp.mean(values)
    total = xp.sum(w)
    return xp.sum(values * w) / xp.where(total > 0, total, xp.ones_like(total))


def training_step(task: Task, optimizer: Any, frozen: Callable[[str], bool], constraints: dict[str, Any]) -> Callable[..., Any]:
    """step(params, fixed, state, slots, x, y, w, random) → (params, state, slots, terms)."""

    def step(params: Tree, fixed: Tree, state: Tree, slots: Tree, x: Tree, y: Tree, w: Array | None, random: Any) -> Any:
        def objective(p: Tree, fixed: Tree, state: Tree, x: Tree, y: Tree, w: Array | None) -> Any:
            run = _Run(task.net, tree.merge(p, fixed), state, training=True, random=random, frozen=frozen)
            terms = task.terms(y, run.output(x), w)
            total = terms["loss"] + run.penalty
            return total, (terms | {"loss": total}, tree.unflatten(run.state))

        (_, (terms, after)), gradients = value_and_grad(objective, has_aux=True)(params, fixed, state, x, y, w)
        params, slots = optimizer.step(params, gradients, slots)
        if constraints:
            params = tree.unflatten({path: constraints[path](p) if path in constraints else p for path, p in tree.flatten(params).items()})
        return params, after, slots, terms

    return step


def without_last_activation(net: Layer) -> tuple[Layer, str | None]:
    """The network up to the value before its last softmax or sigmoid, and the name of that link; None where there is none."""
    if isinstance(net, Sequential) and net.layers:
        names = list(net.children)
        layers = [dataclasses.replace(part, name=name) for name, part in zip(names, net.layers, strict=True)]
        layers[-1], link = without_last_activation(layers[-1])
        return (dataclasses.replace(net, layers=tuple(layers)), link) if link else (net, None)
    which = net.function if isinstance(net, Function) else getattr(net, "activation", None)
    link = which if isinstance(which, str) else getattr(which, "__name__", None)
    if link not in ("softmax", "sigmoid") or functions.activation(which) is not getattr(functions, link):
        return net, None
    if isinstance(net, Function):
        return dataclasses.replace(net, function=functions.identity), link
    if isinstance(net, Activation | Dense) or hasattr(net, "activation"):
        return dataclasses.replace(net, activation=None if not isinstance(net, Activation) else functions.identity), link  # type: ignore[call-arg]
    return net, None


LINKS: dict[str | None, Callable[[Array], Array]] = {"softmax": functions.softmax, "sigmoid": functions.sigmoid, None: functions.identity}


def make_task(net: Layer, outputs: list[str], loss: Any, loss_weights: Any, wanted: Any) -> Task:
    """Settle what `compile` was given: losses by name or object, the link between logits and predictions, metrics."""
    logits_net, last = without_last_activation(net)
    if isinstance(loss, dict):
        if unknown := sorted(set(loss) - set(outputs)):
            raise ValueError(f"compile: loss names {', '.join(unknown)}; the outputs are {', '.join(outputs)}")
        chosen = {name: losses.get(value) for name, value in loss.items()}
    elif outputs == [""]:
        chosen = {"": losses.get(loss)}
    else:
        raise ValueError(f"compile: the network has outputs {', '.join(outputs)}; loss is a dict with one for each, e.g. {{{outputs[0]!r}: \"mse\"}}")
    if last and loss is not None and "" in chosen:
        chosen[""] = _before_link(loss, chosen[""], last, net)
        used = logits_net if getattr(chosen[""], "from_logits", False) else net
    else:
        used = net
    links = {name: LINKS[last] if used is not net else _link(value) for name, value in chosen.items()}
    if isinstance(wanted, str) or callable(wanted):
        wanted = [wanted]
    per_output = wanted if isinstance(wanted, dict) else dict.fromkeys(chosen, wanted)
    listed = {}
    for name, items in per_output.items():
        if name not in chosen:
            raise ValueError(f"compile: metrics name {name!r}; the outputs are {', '.join(chosen)}")
        items = [items] if isinstance(items, str) or callable(items) else list(items or ())
        listed[name] = [(item if isinstance(item, str) else getattr(item, "__name__", type(item).__name__), metrics.get(item)) for item in items]
    weights = dict(loss_weights or {})
    if unknown := sorted(set(weights) - set(chosen)):
        raise ValueError(f"compile: loss_weights name {', '.join(unknown)}; the losses are {', '.join(chosen)}")
    return Task(used, links, chosen, weights, listed)


def _before_link(given: Any, loss: Any, last: str, net: Layer) -> Any:
    """The loss for a network that ends in softmax or sigmoid: by name it takes the value before; an object must agree."""
    fitting = {"CategoricalCrossentropy": "softmax", "SparseCategoricalCrossentropy": "softmax", "BinaryCrossentropy": "sigmoid"}
    kind = type(loss).__name__
    if kind not in fitting or not getattr(loss, "from_logits", False):
        return loss
    if isinstance(given, str):
        return loss if fitting[kind] == last else dataclasses.replace(loss, from_logits=False)
    layer = net.layers[-1] if isinstance(net, Sequential) else net
    raise ValueError(
        f'{layer!r} already gives probabilities, but the loss expects logits. Remove the "{last}", or write {kind}(from_logits=False).'
    )


def _link(loss: Any) -> Callable[[Array], Array]:
    """The function from the network's outputs to predictions: the loss's link where it takes logits."""
    link = getattr(loss, "link", None)
    if link is None or getattr(loss, "from_logits", True) is False:
        return functions.identity
    return functions.activation(link) if isinstance(link, str) else link  # type: ignore[no-any-return]
