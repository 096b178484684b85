"""Step 5: design, train and evaluate a network

The question: which of three species is an iris, by the length and width of its sepals and petals, in centimetres? There are
120 flowers to learn from and 30 that the network never sees, to examine it on.

Design. The four numbers go through a layer of 16 units with the activation tanh, then through a layer with one output for
each species, z₁, z₂, z₃ ("logits"). The softmax makes probabilities of them, pₖ = e^zₖ / Σ e^zⱼ. The loss is the
cross-entropy −log p of the true species: 0 if the network is certain and right, log 3 = 1.0986 if it guesses.

Train. An epoch shows all flowers once, in batches of 16. Each batch gives a gradient by backpropagation (step 4), and the
optimizer takes a step (step 3); Adam chooses the length of its steps for each weight by itself.

Evaluate. The loss on flowers it has learned from says little: a network can learn them by heart. So every fifth flower of
the 120 is kept for validation, to choose the design by, and the 30 of the test are used once, at the end.

    python examples/05_first_network.py --backend numpy

It prints, among other things:

    before training: loss 1.52, accuracy 0.067
    0 hidden units: training loss 0.088, accuracy 0.969;  validation loss 0.032, accuracy 1.000
    16 hidden units: training loss 0.050, accuracy 0.979;  validation loss 0.008, accuracy 1.000
    test: loss 0.08, accuracy 0.967
"""

import course
import numpy as np

import ann

options = course.options(__doc__)
epochs = 3 if options.quick else 100

(x, y), (x_test, y_test) = ann.datasets.iris()
names = ann.datasets.CLASSES["iris"]
print(f"{len(x)} flowers, for example {x[0]} cm: {names[y[0]]}")

# Inputs of very different sizes are hard to learn from: subtract the mean and divide by the standard deviation, both of the
# training data; the test data must not be looked at, not even for this.
mean, deviation = x.mean(axis=0), x.std(axis=0)
x, x_test = (x - mean) / deviation, (x_test - mean) / deviation


def design(hidden):
    """A network with this many hidden units; without any it can only divide the space by planes."""
    layers = [ann.Dense(hidden, "tanh")] if hidden else []
    model = ann.Model([ann.Input((4,)), *layers, ann.Dense(3)], backend=options.backend, seed=0)
    model.compile(ann.Adam(0.02), "categorical_crossentropy", metrics=["accuracy"])
    return model


model = design(16)
model.summary()
loss, accuracy = model.evaluate(x_test, y_test)
print(f"\nbefore training: loss {loss:.2f}, accuracy {accuracy:.3f}\n")

for hidden in (0, 4, 16):
    model = design(hidden)
    history = model.fit(x, y, epochs=epochs, batch_size=16, validation_split=0.2, verbose=0)
    print(
        f"{hidden:2d} hidden units: training loss {history['loss'][-1]:.3f}, accuracy {history['accuracy'][-1]:.3f};  "
        f"validation loss {history['val_loss'][-1]:.3f}, accuracy {history['val_accuracy'][-1]:.3f}"
    )

loss, accuracy = model.evaluate(x_test, y_test)
print(f"\ntest: loss {loss:.2f}, accuracy {accuracy:.3f}")

p, found = model.predict_proba(x_test), model.predict_class(x_test)
for i in np.nonzero(found != y_test)[0]:
    print(f"flower {i} is a {names[y_test[i]]}, taken for a {names[found[i]]} with probability {p[i, found[i]]:.2f}")
print()

course.picture(options, "05_network", lambda: ann.plot.model(model, title="the network"))
course.picture(options, "05_history", history.plot)
course.picture(options, "05_confusion", lambda: ann.plot.confusion_matrix(ann.metrics.confusion_matrix(y_test, found, classes=3), names))
