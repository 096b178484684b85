"""Step 6: xor, or why a network needs a hidden layer

Exclusive or: the answer is 1 if exactly one of two inputs is 1. A single layer divides the plane by a straight line, and no
line has (0, 1) and (1, 0) on one side and (0, 0) and (1, 1) on the other (Minsky & Papert 1969). The best it can do is to
answer ½ everywhere, which costs −log ½ = log 2 = 0.6931.

A hidden layer bends the plane first. With four units and tanh the answers are right.

    python examples/06_xor.py --backend numpy

It prints, among other things:

    one layer: loss 0.6931
    with a hidden layer: loss 0.0024, accuracy 1.0
    0 xor 0: 0.000
    0 xor 1: 0.996
    1 xor 0: 0.998
    1 xor 1: 0.004
"""

import course

import ann

options = course.options(__doc__)
x, y = ann.datasets.xor()
print("x", x.tolist(), " y", y.tolist(), "\n")


def train(layers):
    model = ann.Model(layers, backend=options.backend, seed=0)
    model.compile(ann.Adam(0.05), "binary_crossentropy", metrics=["accuracy"])
    model.fit(x, y, epochs=20 if options.quick else 400, batch_size=4, verbose=0)
    return model


line = train([ann.Dense(1)])
loss, accuracy = line.evaluate(x, y)
print(f"one layer: loss {loss:.4f}")

bent = train([ann.Dense(4, "tanh"), ann.Dense(1)])
loss, accuracy = bent.evaluate(x, y)
print(f"with a hidden layer: loss {loss:.4f}, accuracy {accuracy}")
for (a, b), p in zip(x.astype(int), bent.predict_proba(x)[:, 0], strict=True):
    print(f"{a} xor {b}: {p:.3f}")
print()


def draw():
    figure, axes = course.panels(2)
    ann.plot.decision_boundary(line, x, y, ax=axes[0], title="one layer: ½ everywhere")
    ann.plot.decision_boundary(bent, x, y, ax=axes[1], title="with a hidden layer")
    return figure


course.picture(options, "06_xor", draw)
