"""Step 10: a training loop of your own

`fit` is a loop around one function, the training step. Here both are written out, for those who want another loop. Nothing
is hidden: parameters p, running averages (of the batch normalization) and the optimizer's slots are trees of arrays that go
into the step and come out of it, new.

    L(p) = loss(y, net(x; p)),    g = ∂L/∂p,    p ← optimizer(p, g)

The random numbers of dropout are a function of (seed, name, step), so the run is the same on every library. The loop ends
by itself when the loss on the validation data has not fallen for 15 epochs, and keeps the best parameters: early stopping.

    python examples/10_custom_loop.py --backend numpy

It prints, among other things:

    test accuracy with the best parameters: 0.99
"""

import course

import ann
import backends

options = course.options(__doc__)
be = backends.get(options.backend)
most_epochs, patience, size = (2 if options.quick else 120), 15, 50


def points(n, seed):
    return [be.asarray(part) for part in ann.datasets.spirals(n, noise=0.04, seed=seed)]


(x, y), (x_val, y_val), (x_test, y_test) = points(600, 0), points(300, 1), points(900, 2)

net = ann.Sequential([ann.Dense(64, "relu"), ann.BatchNormalization(), ann.Dropout(0.1), ann.Dense(64, "relu"), ann.Dense(3)])
params, state = net.init(x[:1, ...], seed=0)
optimizer = ann.AdamW(ann.schedules.CosineDecay(0.01, most_epochs * x.shape[0] // size), weight_decay=1e-3)
slots = optimizer.init(params)
dice = ann.Stream(0)


@ann.jit
def step(params, state, slots, x, y, i):
    """One step of training: new parameters, state and slots, and the loss before it."""

    def objective(p):
        z, out = net.apply_training(p, x, state=state, random=dice["train"].at(i))
        return ann.losses.categorical_crossentropy(y, z) + out.penalty, out.state

    (loss, state), g = ann.value_and_grad(objective, has_aux=True)(params)
    params, slots = optimizer.step(params, g, slots)
    return params, state, slots, loss


@ann.jit
def examine(params, state, x, y):
    """(loss, accuracy) in inference: dropout off, batch normalization by its running averages."""
    z = net.apply(params, x, state=state)
    xp = backends.namespace(z, y)
    right = xp.argmax(z, axis=-1) == xp.astype(y, xp.argmax(z, axis=-1).dtype)
    return ann.losses.categorical_crossentropy(y, z), xp.mean(xp.astype(right, z.dtype))


history = ann.History()
best, since, i = (float("inf"), params, state), 0, 0
for epoch in range(most_epochs):
    order = be.asarray(dice["order"].at(epoch).permutation(x.shape[0]))
    total = 0.0
    for start in range(0, x.shape[0], size):
        rows = order[start : start + size]
        params, state, slots, loss = step(params, state, slots, be.xp.take(x, rows, axis=0), be.xp.take(y, rows, axis=0), i)
        total, i = total + loss, i + 1  # the sum stays on the device: float(loss) here would wait for it in each step
    val_loss, val_accuracy = map(float, examine(params, state, x_val, y_val))
    history.add(epoch, {"loss": float(total) * size / x.shape[0], "val_loss": val_loss})
    if epoch % 10 == 0:
        print(f"epoch {epoch:3d}   loss {history['loss'][-1]:.4f}   validation: loss {val_loss:.4f}, accuracy {val_accuracy:.3f}")
    since += 1
    if val_loss < best[0]:
        best, since = (val_loss, params, state), 0
    if since == patience:
        print(f"no better for {patience} epochs: stopped after epoch {epoch}")
        break

_, params, state = best
loss, accuracy = examine(params, state, x_test, y_test)
print(f"\ntest accuracy with the best parameters: {float(accuracy):.2f}\n")

course.picture(options, "10_history", history.plot)
course.picture(
    options, "10_spirals",
    lambda: ann.plot.decision_boundary(lambda grid: ann.softmax(net.apply(params, be.asarray(grid), state=state)), x_test, y_test, title="three spirals, test points"),
)  # fmt: skip
