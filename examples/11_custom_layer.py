"""Step 11: an activation and a layer of your own

An activation is a function with its derivative beside it: `ann.primitive` takes a function that returns the value and, for
each argument, the way back. This one is the "snake" (Ziyin, Hartwig & Ueda 2020), for functions that repeat themselves:

    y = x + sin²(a·x)/a         ∂y/∂x = 1 + sin(2a·x)         ∂y/∂a = x·sin(2a·x)/a − sin²(a·x)/a²

Its frequency a is to be learned. So it needs a layer, which owns parameters: a class with one method, `call`, that asks the
context for what it needs. `ctx.param` draws the array when the network is built, and finds it again afterwards.

`ann.check_gradients` compares the derivatives with difference quotients. Always run it on a formula of your own.

    python examples/11_custom_layer.py --backend numpy

It prints, among other things:

    the derivatives are right, to second order
    tanh   between −1 and 1: mean square error 0.0877;  beyond, from 1 to 1.5: 2.4888
    snake  between −1 and 1: mean square error 0.0031;  beyond, from 1 to 1.5: 0.0010
"""

import course
import numpy as np

import ann
import backends
from backends import namespace

options = course.options(__doc__)
be = backends.get(options.backend)


@ann.primitive
def snake(x, a):
    """y = x + sin²(a·x)/a      dx = dy·(1 + sin 2ax)      da = Σ dy·(x·sin(2ax)/a − sin²(ax)/a²)

    x (..., d), a (d,) → y like x.
    """
    xp = namespace(x, a)
    s = xp.sin(a * x)
    double = xp.sin(2.0 * a * x)
    y = x + s * s / a

    def da(dy):
        g = dy * (x * double / a - s * s / (a * a))
        return xp.sum(g, axis=tuple(range(g.ndim - 1)))

    return y, lambda dy: dy * (1.0 + double), da


class Snake(ann.Layer):
    """The snake with a frequency for each unit, drawn near `frequency`."""

    frequency: float = 3.0

    def call(self, x, ctx):
        d = x.shape[-1]
        a = ctx.param("frequency", (d,), ann.initializers.RandomUniform(0.5 * self.frequency, 1.5 * self.frequency))
        return snake(x, a)


ann.check_gradients(snake, np.linspace(-2, 2, 12).reshape(4, 3), np.array([0.5, 1.0, 3.0]), order=2)
print("the derivatives are right, to second order\n")

# Points of a sine to learn from, and its continuation to be examined on.
x, y = ann.datasets.curve(200, noise=0.05, seed=0, kind="sine")
x_new = np.linspace(1.0, 1.5, 100, dtype="float32").reshape(-1, 1)
y_new = np.sin(2 * np.pi * x_new)

models = {}
for name, activation in (("tanh", ann.tanh), ("snake", Snake())):
    model = ann.Model([ann.Input((1,)), ann.Dense(16), activation, ann.Dense(1)], backend=options.backend, seed=0)
    model.compile(ann.Adam(0.01), "mse")
    model.fit(x, y, epochs=3 if options.quick else 300, verbose=0)
    models[name] = model
    print(f"{name:<6} between −1 and 1: mean square error {model.evaluate(x, y).loss:.4f};  beyond, from 1 to 1.5: {model.evaluate(x_new, y_new).loss:.4f}")
print()


def draw():
    figure, axes = course.panels(2)
    both, both_y = np.concatenate([x, x_new]), np.concatenate([y, y_new])
    for (name, model), ax in zip(models.items(), axes, strict=True):
        ann.plot.curve(model, both, both_y, ax=ax, title=name)
        ax.axvline(1.0, color="#888888", linewidth=0.8, linestyle=":")
    return figure


course.picture(options, "11_snake", lambda: ann.plot.activation(lambda x: snake(x, np.full(x.shape[-1:], 1.0)), title="snake, a = 1"))
course.picture(options, "11_curves", draw)
