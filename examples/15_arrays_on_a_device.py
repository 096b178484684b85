"""Step 15: arrays that are already on the GPU

Data often are on a GPU before any network sees them: a simulation has computed them there, or a filter. A model without a
`backend` follows the first data it is given: it is built on their device, trains there, and answers there. Nothing travels to
the host and back; what does not fit together is an error that names both sides, never a silent copy.

Without --backend this takes the first GPU that runs, else NumPy; `python -m backends` lists what runs here, and why not. With --backend torch or jax the arrays are those of PyTorch
or JAX on the CPU, as a stand-in: the program is the same.

    python examples/15_arrays_on_a_device.py --backend numpy

It prints, among other things:

    the model followed the data
    mean square error after training: 0.0086
"""

import course

import ann
import backends

options = course.options(__doc__)
be = backends.get(options.backend or "auto")
print(f"this run: {be.name}, device {be.device}")

# The data are made on the device, by the library's own functions: points of a square, and the height of a wave at each, which is
# to be learned.
xp = be.xp
x = ann.Stream(0)["points"].uniform((4000, 2), -1.0, 1.0, like=be)
y = xp.sin(3.0 * x[:, :1]) * xp.cos(3.0 * x[:, 1:])
print(f"x is a {type(x).__module__}.{type(x).__name__} of shape {tuple(x.shape)} on {backends.of(x).device}")

model = ann.Model([ann.Dense(64, "tanh"), ann.Dense(64, "tanh"), ann.Dense(1)], seed=0)  # no backend: the data decide
model.compile(ann.Adam(5e-3), "mse")
model.fit(x, y, epochs=1 if options.quick else 10, batch_size=100, verbose=2)
prediction = model.predict(x)
followed = backends.of(prediction).name == be.name and backends.of(prediction).device == be.device
print(f"\nthe model {'followed' if followed else 'did NOT follow'} the data")
print(f"its prediction is a {type(prediction).__module__}.{type(prediction).__name__} on {backends.of(prediction).device}")
print(f"mean square error after training: {float(xp.mean((prediction - y) ** 2)):.4f}")

# To leave the device is a step of its own, and the only one that waits for it:
on_host = be.to_numpy(prediction)
print(f"be.to_numpy gives a {type(on_host).__name__}; model.to('numpy') moves the model: {model.to('numpy').backend.name}\n")

course.picture(
    options,
    "15_surface",
    lambda: ann.plot.loss_surface(
        lambda a, b: model.predict([[a, b]])[0, 0], x=(-1, 1), y=(-1, 1), names=("x₀", "x₁"), label="y", resolution=15 if options.quick else 41, title="what the network learned"
    ),
)
