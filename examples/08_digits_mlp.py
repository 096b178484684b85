"""Step 8: handwritten digits with fully connected layers

The data: 1,797 images of 8×8 pixels, 1,437 to learn from and 360 for the test (UCI, Alpaydin & Kaynak 1998). `Flatten` makes
a row of 64 numbers of each; two hidden layers and ten outputs follow. Dropout switches off a random fifth of the units in
each training step, so that no unit relies on a single other one.

Looking inside: a unit of the first layer has 64 weights, one for each pixel, and can be drawn as an image, the pattern that
it looks for. The features show what the network makes of one digit, layer by layer.

    python examples/08_digits_mlp.py --backend numpy

It prints, among other things:

    17,226 parameters
    test: loss 0.13, accuracy 0.969
"""

import course
import numpy as np

import ann

options = course.options(__doc__)
(x, y), (x_test, y_test) = ann.datasets.digits()

model = ann.Model(
    [ann.Flatten(), ann.Dense(128, "relu"), ann.Dropout(0.2), ann.Dense(64, "relu"), ann.Dense(10)],
    backend=options.backend,
    seed=0,
)
model.compile(ann.Adam(2e-3), "categorical_crossentropy", metrics=["accuracy"])
history = model.fit(x, y, epochs=1 if options.quick else 30, validation_split=0.1, verbose=2)
model.summary()

loss, accuracy = model.evaluate(x_test, y_test)
print(f"\ntest: loss {loss:.2f}, accuracy {accuracy:.3f}")
found, p = model.predict_class(x_test), model.predict_proba(x_test)
wrong = np.nonzero(found != y_test)[0]
print(f"{len(wrong)} of {len(y_test)} are wrong; of those that it is least sure about:")
for i in np.argsort(p.max(axis=1))[:3]:
    first, second = np.argsort(p[i])[::-1][:2]
    print(f"  image {i} is a {y_test[i]}: {first} with probability {p[i, first]:.2f}, {second} with {p[i, second]:.2f}")
print()

course.picture(options, "08_history", history.plot)
course.picture(options, "08_weights", lambda: ann.plot.weights(model, "dense/kernel", shape=(8, 8), columns=16))
course.picture(options, "08_features", lambda: ann.plot.features(model, x_test[:1], title=f"a {y_test[0]}, layer by layer"))
course.picture(options, "08_mistakes", lambda: ann.plot.images(x_test[wrong], y_test[wrong], found[wrong], title="true → found"))
