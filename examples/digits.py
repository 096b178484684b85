"""Step 9, the main job: a convolutional network reads handwritten digits

A convolution looks at an image through a small window and computes, at each place, a weighted sum of what it sees:

    y[i, j, f] = Σ_{u, v, c} x[i + u, j + v, c]·w[u, v, c, f] + b[f]

The weights w are the same everywhere: a pattern that was learned in one corner is found in all of them, and there are few
weights to learn. Max pooling then keeps the largest of each 2×2 outputs: that the pattern is there matters more than where.
After two rounds of both, dense layers decide (step 8).

    python examples/digits.py --backend numpy [--seeds 5] [--epochs 20] [--out digits-out]

Each seed draws other initial weights, another order of the images, other dropouts. It prints, among other things:

    mean test accuracy over 5 seeds: 98.50%
    loaded again: predictions are identical

and writes pictures and the model to the folder. The exit status is 1 when the mean accuracy is below 97.5 %.
"""

import argparse
import sys
import time
from pathlib import Path

import numpy as np

import ann


def network() -> list:
    return [
        ann.Conv2D(24, 3, padding="same", activation="relu"),
        ann.MaxPooling2D(),
        ann.Conv2D(48, 3, padding="same", activation="relu"),
        ann.MaxPooling2D(),
        ann.Flatten(),
        ann.Dropout(0.3),
        ann.Dense(64, "relu"),
        ann.Dense(10),
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--backend", default=None, help="numpy, cupy, torch, jax, auto, … (default: $ANN_BACKEND, else numpy)")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--out", type=Path, default=Path("digits-out"))
    parser.add_argument("--quick", action="store_true", help="one seed, one epoch: as little as shows that it runs")
    options = parser.parse_args()
    if options.quick:
        options.seeds = options.epochs = 1
    options.out.mkdir(parents=True, exist_ok=True)

    (x, y), (x_test, y_test) = ann.datasets.digits()
    print(f"{len(x)} images to learn from, {len(x_test)} to be examined on, {x.shape[1]}×{x.shape[2]} pixels each")
    steps = options.epochs * -(-len(x) // 32)
    scores = []
    for seed in range(options.seeds):
        model = ann.Model(network(), backend=options.backend, seed=seed)
        model.compile(ann.Adam(ann.schedules.CosineDecay(2e-3, steps)), "categorical_crossentropy", metrics=["accuracy"])
        started = time.perf_counter()
        history = model.fit(x, y, epochs=options.epochs, validation_data=(x_test, y_test), verbose=2 if seed == 0 else 0)
        if seed == 0:
            model.summary()
        scores.append(model.evaluate(x_test, y_test).accuracy)
        print(f"seed {seed}: test accuracy {scores[-1]:.2%}   ({time.perf_counter() - started:.1f} s)")
    mean = sum(scores) / len(scores)
    print(f"mean test accuracy over {len(scores)} seeds: {mean:.2%}")

    found = model.predict_class(x_test)
    matrix = np.asarray(ann.metrics.confusion_matrix(y_test, found, classes=10))
    print("\nconfusion matrix of the last run (rows: true, columns: found)\n     " + "".join(f"{k:4d}" for k in range(10)))
    for k, row in enumerate(matrix):
        print(f"{k:4d} " + "".join(f"{n:4d}" if n else "   ·" for n in row))

    path = options.out / "digits.safetensors"
    model.save(path)
    again = ann.load(path, backend=options.backend)
    same = np.array_equal(model.predict(x_test), again.predict(x_test))
    print(f"\nsaved to {path}\nloaded again: predictions are {'identical' if same else 'DIFFERENT'}")
    pictures(options.out, model, history, matrix, x_test, y_test, found)
    print("\nnext: print(model.backprop(x[:8], y[:8])) shows backpropagation line by line; ann.grad differentiates any Array API code;\n"
          "      --backend cupy trains on a GPU. The README goes on from here.")  # fmt: skip
    return 0 if same and (mean >= 0.975 or options.quick) else 1


def pictures(folder: Path, model, history, matrix, x, y, found) -> None:
    try:
        figures = {
            "history": history.plot(),
            "confusion_matrix": ann.plot.confusion_matrix(matrix),
            "network": ann.plot.model(model, title="the network"),
            "kernels": ann.plot.weights(model, "conv2d/kernel"),
            "features": ann.plot.features(model, x[:1], title=f"a {y[0]}, layer by layer"),
            "relu": ann.plot.activation(ann.relu),
        }
        wrong = np.nonzero(found != y)[0]
        if len(wrong):
            figures["mistakes"] = ann.plot.images(x[wrong], y[wrong], found[wrong])
    except ImportError as error:
        print(f"no pictures: {error}")
        return
    for name, figure in figures.items():
        figure.savefig(folder / f"{name}.png")
    print(f"pictures in {folder}: {', '.join(figures)}")


if __name__ == "__main__":
    sys.exit(main())
