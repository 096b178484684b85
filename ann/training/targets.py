"""Targets and weights on their way to the losses: told apart by dtype and shape, checked once, put on the device."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import backends
from ann import losses
from ann.names import snake_case
from ann.training import data
from backends import host, tree

Array = Any


@dataclass(frozen=True)
class Targets:
    """What a model's targets must be: for each output by its name its loss, and the shape of the output."""

    be: backends.Backend
    dtype: str
    losses: dict[str, Any]
    shapes: dict[str, tuple[int, ...]]

    def enter(self, y: Any, name: str) -> dict[str, Array]:
        """{output: its targets} on the device, for the outputs that have a loss."""
        if y is None:
            raise ValueError(f"{name} is None: the loss compares the outputs with targets")
        given = self.by_output(y, name)
        if missing := sorted(self.losses.keys() - given.keys()):
            raise ValueError(f"{name} has no {', '.join(missing)}; it has {', '.join(given)}")
        return {output: self.target(output, given[output], f"{name}[{output!r}]" if output else name) for output in self.losses}

    def by_output(self, given: Any, name: str) -> dict[str, Any]:
        """{output: what was given for it}: for one output the thing itself, for several a dict, or a tuple in their order."""
        names = list(self.shapes)
        if isinstance(given, dict):
            flat = tree.flatten(given)
            if unknown := sorted(flat.keys() - set(names)):
                raise ValueError(f"{name} names {', '.join(unknown)}; {'the outputs are ' + ', '.join(names) if names != [''] else 'the output is one array'}")
            return flat
        if len(names) == 1:
            return {names[0]: given}
        if isinstance(given, tuple | list) and len(given) == len(names):
            return dict(zip(names, given, strict=True))
        raise ValueError(f"{name}: the outputs are {', '.join(names)}; {name} is a dict with these keys, or a tuple in their order")

    def target(self, output: str, y: Any, name: str) -> Array:
        """The targets of one output: integers (n, …) are labels, where the loss takes classes; else they have the output's shape.

        Checked now, or batch by batch where they are on the disk; (n,) for an output (n, 1) is reshaped.
        """
        loss, shape = self.losses[output], self.shapes[output][1:]
        called = snake_case(type(loss).__name__)
        classes = getattr(loss, "labels", None) == "classes"

        def check(y: Any) -> Array:
            y, xp = data.enter(y, self.be, self.dtype, name, indices=classes), self.be.xp
            own = tuple(y.shape[1:])
            if classes and xp.isdtype(y.dtype, ("integral", "bool")):
                y = xp.astype(y, xp.int32) if xp.isdtype(y.dtype, "bool") else y
                check = losses.check_labels if own != shape or shape[-1] == 1 else losses.check_one_hot
                check(y, shape[-1], called, name, getattr(loss, "ignore_class", None))
                return y
            if classes and own in (shape[:-1], (*shape[:-1], 1)) and shape[-1] > 1:
                raise ValueError(f"{name} is {data.kind(y)} of floats; class labels are integers, {name}.astype('int64'), and probabilities have one value an output")
            if own == () and shape == (1,):
                y, own = xp.reshape(y, (-1, 1)), (1,)
            if hasattr(loss, "labels") and own != shape:
                raise ValueError(f"{name} has shape {tuple(y.shape)}, the output is (n, {', '.join(map(str, shape))}); they must agree")
            if getattr(loss, "link", None) == "sigmoid":
                losses.check_shares(y, called, name)
            return y

        return data.later(check, y)

    def weights(self, y: dict[str, Array], sample_weight: Any, class_weight: Any) -> dict[str, Array]:
        """{output: one weight an example}, of the outputs that have any; class weights multiply sample weights."""
        found: dict[str, Array] = {}
        if isinstance(sample_weight, dict | tuple):
            given = self.by_output(sample_weight, "sample_weight")
            found = {output: self.weight(y[output], w, f"sample_weight[{output!r}]") for output, w in given.items() if w is not None and output in y}
        elif sample_weight is not None:
            w = self.weight(next(iter(y.values())), sample_weight, "sample_weight")
            found = dict.fromkeys(y, w)
        if class_weight is None:
            return found
        if not isinstance(class_weight, dict):
            raise TypeError(f'class_weight is a dict {{label: weight}}, {class_weight!r} came; "balanced" is a word of ann.estimators')
        several = bool(class_weight) and all(isinstance(value, dict) for value in class_weight.values())
        if not several and len(y) > 1:
            raise ValueError(f"class_weight is for one output; for several it is a dict of them: class_weight={{{next(iter(y))!r}: {{0: 1.0, 1: 2.0}}}}")
        if several and (unknown := sorted(class_weight.keys() - y.keys())):
            raise ValueError(f"class_weight names {', '.join(unknown)}; the outputs with a loss are {', '.join(y)}")
        for output, of_class in (class_weight if several else {next(iter(y)): class_weight}).items():
            w = self.class_weight(output, y[output], of_class, f"class_weight[{output!r}]" if several else "class_weight")
            found[output] = found[output] * w if output in found else w
        return found

    def weight(self, y: Array, given: Any, name: str) -> Array:
        """One weight an example, none negative."""
        n = y.shape[0]
        w = data.enter(given, self.be, self.dtype, name)
        if tuple(w.shape) != (n,):
            raise ValueError(f"{name} has shape {tuple(w.shape)}; one weight an example is wanted: ({n},)")
        if n and bool(self.be.xp.any(w < 0)):
            raise ValueError(f"{name} has negative values")
        return w

    def class_weight(self, output: str, y: Array, of_class: dict[int, float], name: str) -> Array:
        """The weight of the class of each example, 1 where none is given; of targets (n, k) the class is the largest."""
        k = self.shapes[output][-1]
        if k > 1 and (unknown := [c for c in of_class if c not in range(k)]):
            raise ValueError(f"{name} names {', '.join(map(repr, unknown))}; the classes are 0 … {k - 1}")
        if wrong := [w for w in of_class.values() if not 0 <= w < float("inf")]:
            raise ValueError(f"{name} holds {wrong[0]!r}; a weight is a number, and not negative")
        if y.ndim > 2 or (y.ndim == 2 and y.shape[1] > 1 and len(self.shapes[output]) > 2):
            raise ValueError(f"{name}: the targets {tuple(y.shape)} have several labels an example; weigh examples with sample_weight")
        parts = [self.be.to_numpy(data.rows(y, start, stop)).reshape(stop - start, -1) for start, stop in data.batches(y.shape[0], 65536)]
        labels = host.concatenate([part[:, 0] if part.shape[1] == 1 else part.argmax(axis=1) for part in parts] or [host.zeros(0, "int64")])
        return self.be.asarray(host.asarray([float(of_class.get(int(c), 1.0)) for c in labels], dtype=self.dtype))
