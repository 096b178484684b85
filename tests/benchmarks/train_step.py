"""One eager training step (forward, loss, gradient, Adam) against PyTorch eager and scikit-learn's MLP.

    python tests/benchmarks/train_step.py [--threads 1] [--rounds 9]

Same weights, batches and optimizer; the loss after 50 steps must agree to rtol 1e-3 before a time counts. Rounds are
interleaved; printed are the least and median time of a step, and the median over rounds of the ratio to ours.
OPENBLAS_CORETYPE and OPENBLAS_L2_SIZE are unset first: they would slow NumPy's products alone.
"""

import argparse
import os
import statistics
import sys
import time

for name in ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE"):
    if name in os.environ:
        os.execve(sys.executable, [sys.executable, *sys.argv], {k: v for k, v in os.environ.items() if k not in ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")})

parser = argparse.ArgumentParser()
parser.add_argument("--threads", type=int, default=1)
parser.add_argument("--rounds", type=int, default=9)
OPTIONS = parser.parse_args()
os.environ["OPENBLAS_NUM_THREADS"] = os.environ["OMP_NUM_THREADS"] = str(OPTIONS.threads)
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", ".."))

import warnings  # noqa: E402

import numpy as np  # noqa: E402

import ann  # noqa: E402
from backends import tree  # noqa: E402
from backends.__main__ import blas  # noqa: E402

MLPS = {"64-32-10, batch 32": ((64, 32, 10), 32), "784-128-64-10, batch 128": ((784, 128, 64, 10), 128), "784-512-512-10, batch 256": ((784, 512, 512, 10), 256)}
LENET = "LeNet 28×28, batch 64"


class Ours:
    name = "ann, NumPy, eager"

    def __init__(self, layers, x, y):
        self.net, self.x, self.y = ann.Sequential(layers), x, y
        self.params, self.state = self.net.init(x[:1], seed=0)
        self.start = tree.map(np.array, self.params)
        self.opt = ann.Adam(1e-3)
        self.slots = self.opt.init(self.params)
        self.value_and_grad = ann.value_and_grad(lambda p, x, y: ann.losses.categorical_crossentropy(y, self.net.apply_training(p, x)[0]))

    def step(self):
        loss, g = self.value_and_grad(self.params, self.x, self.y)
        self.params, self.slots = self.opt.step(self.params, g, self.slots)
        return loss


class Torch:
    name = "PyTorch eager, fused Adam"

    def __init__(self, ours, convolutional):
        import torch
        from torch import nn

        torch.set_num_threads(OPTIONS.threads)
        self.torch = torch
        p = ours.start
        parts = []
        names = list(p)
        if convolutional:
            for name in ("conv2d", "conv2d_1"):
                k = p[name]["kernel"]
                conv = nn.Conv2d(k.shape[2], k.shape[3], k.shape[0])
                conv.weight.data, conv.bias.data = torch.tensor(k.transpose(3, 2, 0, 1).copy()), torch.tensor(p[name]["bias"])
                parts += [conv, nn.ReLU(), nn.MaxPool2d(2)]
            parts.append(nn.Flatten())
        dense = [n for n in names if n.startswith("dense")]
        for i, name in enumerate(dense):
            k = p[name]["kernel"]
            if convolutional and i == 0:  # our rows are (space, channel), theirs (channel, space)
                side = int((k.shape[0] // 16) ** 0.5)
                k = k.reshape(side, side, 16, -1).transpose(2, 0, 1, 3).reshape(k.shape)
            layer = nn.Linear(*k.shape)
            layer.weight.data, layer.bias.data = torch.tensor(k.T.copy()), torch.tensor(p[name]["bias"])
            parts += [layer] + ([nn.ReLU()] if i + 1 < len(dense) else [])
        self.net = nn.Sequential(*parts)
        x = ours.x.transpose(0, 3, 1, 2).copy() if convolutional else ours.x
        self.x, self.y = torch.tensor(x), torch.tensor(ours.y)
        self.opt = torch.optim.Adam(self.net.parameters(), lr=1e-3, fused=True)

    def step(self):
        self.opt.zero_grad(set_to_none=True)
        loss = self.torch.nn.functional.cross_entropy(self.net(self.x), self.y)
        loss.backward()
        self.opt.step()
        return loss.detach()


class Sklearn:
    name = "scikit-learn MLP"

    def __init__(self, ours, sizes, batch):
        from sklearn.neural_network import MLPClassifier

        self.x, self.y = ours.x, ours.y
        self.net = MLPClassifier(sizes[1:-1], batch_size=batch, alpha=0.0, learning_rate_init=1e-3, shuffle=False)
        self.net.partial_fit(self.x, self.y, classes=np.arange(10))
        for i, name in enumerate(ours.start):
            self.net.coefs_[i][:], self.net.intercepts_[i][:] = ours.start[name]["kernel"], ours.start[name]["bias"]
        self.net._optimizer.t = 0
        for moment in (*self.net._optimizer.ms, *self.net._optimizer.vs):
            moment[:] = 0

    def step(self):
        self.net.partial_fit(self.x, self.y)
        return self.net.loss_


def contenders(case):
    rng = np.random.default_rng(0)
    if case == LENET:
        x, batch = rng.normal(size=(64, 28, 28, 1)).astype("float32"), 64
        layers = [ann.Conv2D(8, 5, activation="relu"), ann.MaxPooling2D(), ann.Conv2D(16, 5, activation="relu"), ann.MaxPooling2D(), ann.Flatten(), ann.Dense(120, "relu"), ann.Dense(10)]
    else:
        sizes, batch = MLPS[case]
        x = rng.normal(size=(batch, sizes[0])).astype("float32")
        layers = [*(ann.Dense(n, "relu") for n in sizes[1:-1]), ann.Dense(10)]
    ours = Ours(layers, x, np.arange(batch) % 10)
    found = [ours]
    try:
        found.append(Torch(ours, case == LENET))
    except ImportError:
        print("  PyTorch is not installed")
    if case != LENET:
        try:
            found.append(Sklearn(ours, *MLPS[case]))
        except ImportError:
            print("  scikit-learn is not installed")
    return found


def main():
    library, kernel, threads = blas()
    print(f"NumPy {np.__version__}, {library} {kernel}, {threads} thread(s); AVX-512 {'avx512f' in open('/proc/cpuinfo').read()}")
    for case in (*MLPS, LENET):
        print(case)
        found = contenders(case)
        losses = []
        for c in found:
            for _ in range(50):
                loss = c.step()
            losses.append(float(loss))
        agree = [abs(value - losses[0]) <= 1e-3 * abs(losses[0]) for value in losses]
        times = {c.name: [] for c in found}
        for _ in range(OPTIONS.rounds):
            for c in found:
                started, n = time.perf_counter(), 0
                while time.perf_counter() - started < 0.15:
                    c.step()
                    n += 1
                times[c.name].append((time.perf_counter() - started) / n)
        for c, loss, same in zip(found, losses, agree, strict=True):
            ratio = statistics.median(t / own for t, own in zip(times[c.name], times[found[0].name], strict=True))
            verdict = f"{ratio:5.2f} × ours" if same else "does not count: another loss"
            print(f"  {c.name:<28} least {min(times[c.name]) * 1e6:8.0f} µs   median {statistics.median(times[c.name]) * 1e6:8.0f} µs   loss {loss:.5f}   {verdict}")


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    main()
