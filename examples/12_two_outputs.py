"""Step 12: a network with two outputs

One body, two heads: which digit is it, and is it even? The body learns from both questions. A layer of your own whose `call`
returns a dict is all it takes; the loss is a dict with the same keys, and the whole loss their weighted sum:

    L = L_digit + 0.3·L_even

Afterwards the body is frozen and a new head is trained on what it has learned: is the digit one of 0, 6, 8, 9, those with a
closed loop? That is called transfer learning.

    python examples/12_two_outputs.py --backend numpy

It prints, among other things:

    test: digit 0.969, even 0.958
    6,273 parameters, 33 of them trainable
    test: has a closed loop 0.961
"""

import course

import ann

options = course.options(__doc__)
epochs = 1 if options.quick else 15
(x, y), (x_test, y_test) = ann.datasets.digits()


class TwoHeads(ann.Layer):
    body: ann.Layer
    digit: ann.Layer
    even: ann.Layer

    def call(self, x, ctx):
        h = self.body(x, ctx)
        return {"digit": self.digit(h, ctx), "even": self.even(h, ctx)}


def body():
    return ann.Sequential([ann.Flatten(), ann.Dense(64, "relu"), ann.Dense(32, "relu")])


model = ann.Model(TwoHeads(body(), ann.Dense(10), ann.Dense(1)), backend=options.backend, seed=0)
model.compile(
    ann.Adam(3e-3),
    {"digit": "categorical_crossentropy", "even": "binary_crossentropy"},
    loss_weights={"even": 0.3},
    metrics={"digit": "accuracy", "even": "accuracy"},
)


def targets(y):
    return {"digit": y, "even": (y % 2 == 0).astype("float32")}


history = model.fit(x, targets(y), epochs=epochs, verbose=2)
scores = model.evaluate(x_test, targets(y_test))
print(f"\ntest: digit {scores['digit_accuracy']:.3f}, even {scores['even_accuracy']:.3f}")
p = model.predict_proba(x_test[:5])
for i in range(5):
    print(f"  a {y_test[i]}: taken for a {p['digit'][i].argmax()}, even with probability {p['even'][i, 0]:.2f}")


def loop(y):
    return ((y == 0) | (y == 6) | (y >= 8)).astype("float32")


# The new model takes over the body: its weights are assigned, then held fast.
second = ann.Model([ann.Input((8, 8, 1)), body(), ann.Dense(1)], backend=options.backend, seed=1)
for path, w in ann.tree.flatten(model.params["body"]).items():
    second.assign(f"sequential/{path}", w)
second.freeze("sequential/*")
second.compile(ann.Adam(0.01), "binary_crossentropy", metrics=["accuracy"])
second.fit(x, loop(y), epochs=epochs, verbose=0)
print("\nthe same body, frozen, with a new head:")
second.summary()
print(f"test: has a closed loop {second.evaluate(x_test, loop(y_test)).accuracy:.3f}\n")

course.picture(options, "12_network", lambda: ann.plot.model(model, title="one body, two heads"))
course.picture(options, "12_history", history.plot)
