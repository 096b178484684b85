"""The main job: a small convolutional network learns to read handwritten digits.

    python examples/digits.py [--backend numpy] [--seeds 5] [--epochs 20] [--out digits-out]

Prints the progress, the test accuracy of each seed and their mean, a confusion matrix; writes pictures and the model to a
folder, loads it again and compares. The exit status is 1 when the mean accuracy is below 97.5 %.
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
    options = parser.parse_args()
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
    print(f"\nsaved to {path}, loaded again: predictions are {'identical' if same else 'DIFFERENT'}")
    pictures(options.out, history, matrix, x_test, y_test, found)
    print("\nnext: print(model.backprop(x[:8], y[:8])) shows backpropagation line by line; ann.grad differentiates any Array API code;\n"
          "      --backend cupy trains on a GPU. The README goes on from here.")  # fmt: skip
    return 0 if same and mean >= 0.975 else 1


def pictures(folder: Path, history, matrix, x, y, found) -> None:
    try:
        figures = {
            "history": history.plot(),
            "confusion_matrix": ann.plot.confusion_matrix(matrix),
            "gelu": ann.plot.activation(ann.gelu),
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
