"""Step 4: backpropagation, step by step

A network is a chain of functions. Backpropagation is the chain rule, applied from the end to the beginning: each function
is told dy, how the loss changes with its output, and answers dx, how the loss changes with its input. What flows forward
are values, what flows back are derivatives.

The network here has 2 inputs, 2 hidden units with sigmoids σ, 1 output z, and the square of its error as loss:

    forward                         backward
    a = x·w₁ + b₁                   dw₁ = xᵀ·da    db₁ = da    dx = da·w₁ᵀ
    h = σ(a)                        da = dh·h·(1 − h)
    z = h·w₂ + b₂                   dw₂ = hᵀ·dz    db₂ = dz    dh = dz·w₂ᵀ
    L = (z − t)²                    dz = 2·(z − t)

(read the right column from below). Three ways give the same numbers: these formulas; the `vjp` of each function, which
is the same formula kept beside the function; and a Model, which does it all and shows it.

    python examples/04_backpropagation.py --backend numpy

It prints, among other things:

    a = [[ 0.0000 -1.3000]]   h = [[0.5000 0.2142]]   z = [[0.4429]]   L = 0.3103
    dz  = [[-1.1142]]
    dw2 = [[-0.5571] [-0.2386]]
    da  = [[-0.1950  0.0938]]
    dw1 = [[-0.0975  0.0469] [ 0.1950 -0.0938]]
    dx  = [[-0.1342  0.0360]]
    the three ways differ by at most 0.000000
    moving w1[0, 1] by ±0.01 changes L by 0.0469 times that: dw1[0, 1] = 0.0469
    one step of gradient descent with η = 0.5: L from 0.3103 to 0.0505
"""

import course
import numpy as np

import ann
import backends

options = course.options(__doc__)
be = backends.get(options.backend)

x = be.asarray([[0.5, -1.0]])  # one example
t = be.asarray([[1.0]])  # what the output should be
p = {
    "w1": be.asarray([[0.4, -0.6], [0.2, 0.8]]), "b1": be.asarray([0.0, -0.2]),
    "w2": be.asarray([[0.7], [-0.5]]), "b2": be.asarray([0.2]),
}  # fmt: skip


def shown(**arrays):
    return "   ".join(f"{name} = {course.show(be.to_numpy(a))}" for name, a in arrays.items())


# 1. By hand: forward …
a = x @ p["w1"] + p["b1"]
h = 1.0 / (1.0 + be.xp.exp(-a))
z = h @ p["w2"] + p["b2"]
loss = float(be.xp.sum((z - t) ** 2))
print("forward")
print(shown(a=a, h=h, z=z), f"  L = {loss:.4f}\n")

# … and backward. Each line is the derivative of one line above, times what came from behind it.
print("backward, by hand")
dz = 2.0 * (z - t)
dw2, db2, dh = h.T @ dz, dz[0, :], dz @ p["w2"].T
da = dh * h * (1.0 - h)
dw1, db1, dx = x.T @ da, da[0, :], da @ p["w1"].T
for name, d in (("dz ", dz), ("dw2", dw2), ("db2", db2), ("dh ", dh), ("da ", da), ("dw1", dw1), ("db1", db1), ("dx ", dx)):
    print(f"{name} = {course.show(be.to_numpy(d))}")

# 2. By the functions themselves. `f.vjp` gives the value and the way back; the ways back are called in the reverse order.
a, back_linear1 = ann.linear.vjp(x, p["w1"], p["b1"])
h, back_sigmoid = ann.sigmoid.vjp(a)
z, back_linear2 = ann.linear.vjp(h, p["w2"], p["b2"])
dh_vjp, dw2_vjp, db2_vjp = back_linear2(2.0 * (z - t))
da_vjp = back_sigmoid(dh_vjp)
dx_vjp, dw1_vjp, db1_vjp = back_linear1(da_vjp)

# 3. By a Model: the same network with the same weights. Its loss is the mean of the squares, here of one.
model = ann.Model([ann.Input((2,)), ann.Dense(2, "sigmoid"), ann.Dense(1)], backend=options.backend, seed=0)
model.compile("sgd", "mse")
model.params = {"dense": {"kernel": p["w1"], "bias": p["b1"]}, "dense_1": {"kernel": p["w2"], "bias": p["b2"]}}
found = model.backprop(x, t)
print("\nthe same, by a Model: print(model.backprop(x, t))   (|·| is the root of the sum of squares)")
print(found)

ways = [
    (dw1, dw1_vjp, found["dense/kernel"].dy), (db1, db1_vjp, found["dense/bias"].dy),
    (dw2, dw2_vjp, found["dense_1/kernel"].dy), (db2, db2_vjp, found["dense_1/bias"].dy),
    (dx, dx_vjp, model.gradients(x, t, wrt="input")),
]  # fmt: skip
worst = max(float(np.max(np.abs(be.to_numpy(one) - be.to_numpy(other)))) for one, *others in ways for other in others)
print(f"\nthe three ways differ by at most {worst:.6f}")


# What a derivative means: move one weight by a little, and see how the loss moves.
def loss_of(p):
    return float(be.xp.sum((ann.linear(ann.sigmoid(ann.linear(x, p["w1"], p["b1"])), p["w2"], p["b2"]) - t) ** 2))


small = be.asarray([[0.0, 0.01], [0.0, 0.0]])
quotient = (loss_of(p | {"w1": p["w1"] + small}) - loss_of(p | {"w1": p["w1"] - small})) / 0.02
print(f"moving w1[0, 1] by ±0.01 changes L by {quotient:.4f} times that: dw1[0, 1] = {float(dw1[0, 1]):.4f}")

# And what it is for: against the gradient, the loss falls.
stepped = {name: p[name] - 0.5 * d for name, d in (("w1", dw1), ("b1", db1), ("w2", dw2), ("b2", db2))}
print(f"one step of gradient descent with η = 0.5: L from {loss:.4f} to {loss_of(stepped):.4f}\n")

# A deep network of sigmoids: |dy| shrinks from layer to layer on the way back, as step 2 foretold. The first layers hardly learn.
deep = ann.Model([ann.Input((2,)), *[ann.Dense(16, "sigmoid") for _ in range(8)], ann.Dense(1)], backend=options.backend, seed=0)
deep.compile("sgd", "mse")
course.picture(options, "04_vanishing", lambda: ann.plot.backprop(deep.backprop(x, t), title="eight layers of sigmoids: the gradient vanishes on its way back"))
