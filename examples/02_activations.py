"""Step 2: activation functions and their derivatives

Between two layers stands a function of one number, applied to each output: y = f(x). It bends what is straight; without it
the network would be one matrix product (step 1). Learning needs its derivative dy/dx as well: how much y changes when x
changes by a little,

    dy/dx = lim (f(x + h) − f(x − h)) / 2h       for h → 0.

In this library every function carries its derivative as a formula. `y, pull = ann.tanh.vjp(x)` gives the value and the way
back: pull(dy) = dy·f′(x), what a change of y by dy asks of x. Here those formulas are compared with the definition.

What to look for in the picture: sigmoid and tanh are flat at both ends. There the derivative is almost 0, and a network
whose units sit there hardly learns. relu has the slope 1 for all x > 0, however large.

    python examples/02_activations.py --backend numpy

It prints, among other things:

    sigmoid         0.500    0.250    0.250
    tanh            0.000    1.000    1.000
    relu            0.000    0.000    1.000
    gelu            0.000    0.500    1.129
    silu            0.000    0.500    1.100
    softplus        0.693    0.500    0.999
    formula and difference quotient agree to 0.0001
    a change of the input, after 10 sigmoids in a row: at most 0.25¹⁰ = 9.5e-07 of it
"""

import course
import numpy as np

import ann
import backends

options = course.options(__doc__)
be = backends.get(options.backend)

functions = [ann.sigmoid, ann.tanh, ann.relu, ann.leaky_relu, ann.elu, ann.selu, ann.gelu, ann.silu, ann.softplus]
x = be.asarray(np.linspace(-7, 7, 1401).astype("float32"))
h = 0.01
smooth = be.xp.astype(be.xp.abs(x) > 1.5 * h, x.dtype)  # relu and others have a kink at 0: there the limit does not exist

print("f             f(0)    f′(0)    largest f′ in ±7")
worst = 0.0
for f in functions:
    y, pull = f.vjp(x)  # the value, and the way back
    slope = pull(be.xp.ones_like(y))  # dy = 1 gives the derivative itself
    quotient = (f(x + h) - f(x - h)) / (2 * h)  # the definition, with a small h instead of the limit
    worst = max(worst, float(be.xp.max(smooth * be.xp.abs(slope - quotient))))
    zero = be.asarray([0.0])
    y0, pull0 = f.vjp(zero)
    print(f"{f.__name__:<11} {float(y0[0]):9.3f} {float(pull0(zero + 1)[0]):8.3f} {float(be.xp.max(slope)):8.3f}")
print(f"\nformula and difference quotient agree to {worst:.4f}")

# A deep network multiplies the slopes of all its layers (the chain rule, step 4). Those of the sigmoid are at most ¼:
print(f"a change of the input, after 10 sigmoids in a row: at most 0.25¹⁰ = {0.25**10:.1e} of it\n")


def draw():
    figure, axes = course.panels(3, 3, 3.2, 2.5)
    for f, ax in zip(functions, axes, strict=True):
        ann.plot.activation(f, ax=ax)
    return figure


course.picture(options, "02_activations", draw)
