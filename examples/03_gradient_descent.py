"""Step 3: gradient descent, by hand and by ann.grad

To learn means to make a number small: the loss, which says how wrong the network is. Here the network is the smallest
there is, a line y = w·x + b, and the loss is the mean square of its errors on n points (xᵢ, yᵢ):

    L(w, b) = 1/n Σ (w·xᵢ + b − yᵢ)²

Its partial derivatives say how L changes with w alone and with b alone; the chain rule gives

    ∂L/∂w = 2/n Σ (w·xᵢ + b − yᵢ)·xᵢ            ∂L/∂b = 2/n Σ (w·xᵢ + b − yᵢ)

Together they are the gradient, the direction in which L rises fastest. Gradient descent takes a small step the other way,
again and again:  w ← w − η·∂L/∂w,  b ← b − η·∂L/∂b.  The number η is the learning rate.

How large may η be? Along a direction in which L curves by λ, a step multiplies the distance to the minimum by 1 − η·λ.
That shrinks only while η < 2/λ. The curvatures are the eigenvalues of the second derivatives, the matrix `ann.hessian`.

    python examples/03_gradient_descent.py --backend numpy

It prints, among other things:

    by hand   ∂L/∂w = -2.9027   ∂L/∂b = 4.9995
    ann.grad  ∂L/∂w = -2.9027   ∂L/∂b = 4.9995
    step  0   w = -1.5000   b = 1.5000   L = 10.1794
    step 60   w = 2.1223   b = -0.4588   L = 0.0258
    exact     w = 2.1224   b = -0.4588   L = 0.0258
    curvatures 0.5771 and 2.0627: the learning rate must stay below 0.9696
    η = 0.9211 after 60 steps: L = 0.03
    with momentum, as a ball that rolls, after 60 steps: L = 0.0258
"""

import course
import numpy as np

import ann
import backends
from backends import namespace

options = course.options(__doc__)
be = backends.get(options.backend)

# 40 points near the line y = 2·x − ½
stream = ann.Stream(0)
x = be.asarray(stream["x"].uniform((40,), -1.0, 1.0))
y = 2.0 * x - 0.5 + 0.2 * be.asarray(stream["noise"].normal((40,)))
n = x.shape[0]


def loss(p, x, y):
    """L(w, b). The parameters p are a dict of arrays without axes."""
    xp = namespace(p["w"], x, y)
    return xp.mean((p["w"] * x + p["b"] - y) ** 2)


def gradient_by_hand(p):
    """The two formulas above."""
    errors = p["w"] * x + p["b"] - y
    return {"w": 2.0 / n * be.xp.sum(errors * x), "b": 2.0 / n * be.xp.sum(errors)}


start = {"w": be.asarray(-1.5), "b": be.asarray(1.5)}
for name, g in (("by hand ", gradient_by_hand(start)), ("ann.grad", ann.grad(loss)(start, x, y))):
    print(f"{name}  ∂L/∂w = {float(g['w']):.4f}   ∂L/∂b = {float(g['b']):.4f}")


def descend(eta, steps):
    """The path of gradient descent: the points (w, b) it visits."""
    p, path = start, []
    for i in range(steps + 1):
        path.append((float(p["w"]), float(p["b"])))
        if i < steps:
            g = ann.grad(loss)(p, x, y)
            p = {name: p[name] - eta * g[name] for name in p}
    return path


def value(w, b):
    return float(loss({"w": be.asarray(float(w)), "b": be.asarray(float(b))}, x, y))


print("\nη = 0.3")
path = descend(0.3, 60)
for i in (0, 1, 2, 5, 10, 20, 60):
    w, b = path[i]
    print(f"step {i:2d}   w = {w:.4f}   b = {b:.4f}   L = {value(w, b):.4f}")
w, b = np.polyfit(be.to_numpy(x).astype(float), be.to_numpy(y).astype(float), 1)  # for a line the minimum is known
print(f"exact     w = {w:.4f}   b = {b:.4f}   L = {value(w, b):.4f}\n")

# The second derivatives of this L do not depend on (w, b): the surface is a bowl, and its curvatures are the same everywhere.
second = ann.hessian(loss)(start, x, y)
matrix = np.array([[float(second[i][j]) for j in ("w", "b")] for i in ("w", "b")])
slow, fast = map(float, np.linalg.eigvalsh(matrix))
limit = 2 / fast
print(f"curvatures {slow:.4f} and {fast:.4f}: the learning rate must stay below {limit:.4f}")
near, over = descend(0.95 * limit, 60), descend(1.05 * limit, 60)
for eta, points in ((0.95 * limit, near), (1.05 * limit, over)):
    print(f"η = {eta:.4f} after 60 steps: L = {value(*points[-1]):.2f}")

# The same with one of the library's optimizers: `step` returns new parameters and new slots, what it remembers between steps.
optimizer = ann.SGD(0.1, momentum=0.8)
p, slots, rolling = start, optimizer.init(start), []
for _ in range(61):
    rolling.append((float(p["w"]), float(p["b"])))
    p, slots = optimizer.step(p, ann.grad(loss)(p, x, y), slots)
print(f"with momentum, as a ball that rolls, after 60 steps: L = {value(*rolling[-1]):.4f}\n")

course.picture(
    options,
    "03_descent",
    lambda: ann.plot.loss_surface(
        value, {"η = 0.3": path, f"η = {0.95 * limit:.2f}": near, "momentum": rolling}, x=(-2.5, 6), y=(-4.5, 2.5), names=("w", "b"), resolution=21 if options.quick else 61,
        title="down the loss surface, from ○ to ●",
    ),
)  # fmt: skip
