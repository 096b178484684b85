"""Step 7: two moons, or how large a network should be

Two half circles that interlock, with noise. A network that is too small cannot follow their shape; one that is large enough
can. One that is larger still, trained for long on few points, begins to follow the noise: its loss on the points it learned
from goes on falling while the loss on new points rises. That is called overfitting; the cures are more data, a smaller
network, an earlier end, or dropout and weight decay.

The pictures show where each network changes its mind; the paler the colour, the less sure it is.

    python examples/07_moons.py --backend numpy

It prints, among other things:

    hidden units      training loss   accuracy    new points: loss   accuracy
    none                      0.332      0.850               0.303      0.867
    4                         0.333      0.850               0.310      0.867
    16                        0.141      0.950               0.237      0.941
    64 + 64                   0.061      0.980               0.426      0.904
"""

import course

import ann

options = course.options(__doc__)
epochs = 5 if options.quick else 300
x, y = ann.datasets.moons(100, noise=0.25, seed=1)
x_new, y_new = ann.datasets.moons(1000, noise=0.25, seed=2)


def train(layers):
    model = ann.Model([*layers, ann.Dense(1)], backend=options.backend, seed=0)
    model.compile(ann.Adam(0.02), "binary_crossentropy", metrics=["accuracy"])
    model.fit(x, y, epochs=epochs, batch_size=50, verbose=0)
    return model


designs = {
    "none": [],
    "4": [ann.Dense(4, "tanh")],
    "16": [ann.Dense(16, "tanh")],
    "64 + 64": [ann.Dense(64, "tanh"), ann.Dense(64, "tanh")],
}
models = {}
print("hidden units      training loss   accuracy    new points: loss   accuracy")
for name, layers in designs.items():
    models[name] = train(layers)
    (loss, accuracy), (new_loss, new_accuracy) = models[name].evaluate(x, y), models[name].evaluate(x_new, y_new)
    print(f"{name:<12} {loss:18.3f} {accuracy:10.3f} {new_loss:19.3f} {new_accuracy:10.3f}")
print()


def draw():
    figure, axes = course.panels(2, 2)
    for (name, model), ax in zip(models.items(), axes, strict=True):
        ann.plot.decision_boundary(model, x, y, ax=ax, title=f"hidden units: {name}")
    return figure


course.picture(options, "07_moons", draw)
