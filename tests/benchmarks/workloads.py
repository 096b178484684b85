"""The seven networks of the benchmark, each in ann, in PyTorch, in JAX and as its bare matrix products: same weights, same data.

    1 MLP 64-32-10, batch 32                  5 LeNet on 28×28, batch 64
    2 MLP 784-128-64-10, batch 128            6 residual block of 3×3 convolutions with batch normalization, 32×32×64, batch 32
    3 MLP 784-512-512-10, batch 256           7 transformer block of width 128, 4 heads, 64 tokens, batch 32
    4 MLP 1024-2048-2048-10, batch 512
"""

from __future__ import annotations

import numpy as np

import ann
from backends import tree


class Block(ann.Layer):
    """y = relu(x + bn(conv(relu(bn(conv(x))))))      He et al. 2016"""

    first: ann.Layer
    norm_1: ann.Layer
    second: ann.Layer
    norm_2: ann.Layer

    def call(self, x, ctx):
        h = ann.relu(self.norm_1(self.first(x, ctx), ctx))
        return ann.relu(x + self.norm_2(self.second(h, ctx), ctx))


class Transformer(ann.Layer):
    """x ← x + proj(attention(norm(x)));  x ← x + mlp(norm(x)): pre-norm, as GPT-2"""

    norm_1: ann.Layer
    qkv: ann.Layer
    proj: ann.Layer
    norm_2: ann.Layer
    up: ann.Layer
    down: ann.Layer
    heads: int

    def call(self, x, ctx):
        xp = ann.namespace(x)
        n, tokens, width = x.shape
        head = width // self.heads
        qkv = xp.reshape(self.qkv(self.norm_1(x, ctx), ctx), (-1, tokens, 3, self.heads, head))
        q, k, v = (xp.permute_dims(qkv[:, :, i, :, :], (0, 2, 1, 3)) for i in range(3))
        scores = xp.matmul(q, xp.matrix_transpose(k)) * head**-0.5
        mixed = xp.permute_dims(xp.matmul(ann.softmax(scores), v), (0, 2, 1, 3))
        x = x + self.proj(xp.reshape(mixed, (-1, tokens, width)), ctx)
        return x + self.down(self.up(self.norm_2(x, ctx), ctx), ctx)


def mean_of_tokens(x):
    return ann.namespace(x).mean(x, axis=1)


MLPS = {1: ((64, 32, 10), 32), 2: ((784, 128, 64, 10), 128), 3: ((784, 512, 512, 10), 256), 4: ((1024, 2048, 2048, 10), 512)}


def network(number):
    """(name, layers, x, y) of a workload."""
    r = np.random.default_rng(0)
    if number in MLPS:
        sizes, batch = MLPS[number]
        layers = [*(ann.Dense(n, "relu") for n in sizes[1:-1]), ann.Dense(10)]
        return f"MLP {'-'.join(map(str, sizes))}, batch {batch}", layers, r.normal(size=(batch, sizes[0])).astype("f"), np.arange(batch) % 10
    if number == 5:
        layers = [
            ann.Conv2D(8, 5, activation="relu"), ann.MaxPooling2D(), ann.Conv2D(16, 5, activation="relu"), ann.MaxPooling2D(), ann.Flatten(),
            ann.Dense(120, "relu"), ann.Dense(84, "relu"), ann.Dense(10),
        ]  # fmt: skip
        return "LeNet 28×28, batch 64", layers, r.normal(size=(64, 28, 28, 1)).astype("f"), np.arange(64) % 10
    if number == 6:
        block = Block(ann.Conv2D(64, 3, padding="same", use_bias=False), ann.BatchNormalization(), ann.Conv2D(64, 3, padding="same", use_bias=False), ann.BatchNormalization(), name="block")
        return "residual block 32×32×64, batch 32", [block, ann.GlobalAveragePooling(), ann.Dense(10)], r.normal(size=(32, 32, 32, 64)).astype("f"), np.arange(32) % 10
    norm = ann.LayerNormalization
    block = Transformer(norm(), ann.Dense(384), ann.Dense(128), norm(), ann.Dense(512, ann.gelu), ann.Dense(128), 4, name="block")
    return "transformer block 64×128, 4 heads, batch 32", [block, mean_of_tokens, ann.Dense(10)], r.normal(size=(32, 64, 128)).astype("f"), np.arange(32) % 10


# ------------------------------------------------------------------------------------------------------------- ann


class Ours:
    """The custom loop of the README under jit, with one lowering, or eager (None)."""

    def __init__(self, number, lowering):
        self.lowering = lowering
        self.name = f"ann, {lowering or 'eager'}"
        _, layers, self.x, self.y = network(number)
        net = ann.Sequential(layers)
        params, state = net.init(self.x[:1], seed=0)
        self.start = tree.map(np.array, params)
        opt = ann.Adam(1e-3)
        slots = opt.init(params)
        self.all = params, state, slots

        def step(params, state, slots, x, y):
            def objective(p, state, x, y):
                z, out = net.apply_training(p, x, state=state)
                return ann.losses.categorical_crossentropy(y, z), out.state

            (loss, state), g = ann.value_and_grad(objective, has_aux=True)(params, state, x, y)
            params, slots = opt.step(params, g, slots)
            return params, state, slots, loss

        self.run = ann.jit(step, donate=(0, 1, 2), lowering=lowering) if lowering else step
        infer = lambda params, state, x: net.apply(params, x, state=state)
        self.infer_ = ann.jit(infer, lowering=lowering) if lowering else infer

    def step(self):
        *self.all, loss = self.run(*self.all, self.x, self.y)
        return loss

    def infer(self):
        return self.infer_(self.all[0], self.all[1], self.x)


class Fit:
    """Model.fit over 64 batches: the whole of what users call, with shuffling and metrics; a step is an epoch's time / 64."""

    name = "ann, Model.fit"

    def __init__(self, number):
        _, layers, x, y = network(number)
        self.x, self.y = np.concatenate([x] * 64), np.concatenate([y] * 64)
        self.model = ann.Model(layers, seed=0)
        self.model.compile("adam", "categorical_crossentropy", metrics=["accuracy"])
        self.batch = len(x)

    def epoch(self):
        self.model.fit(self.x, self.y, epochs=1, batch_size=self.batch, verbose=0)


class Floor:
    """The matrix products of a step of an MLP alone, through NumPy, into memory that is there."""

    name = "floor: the products alone"

    def __init__(self, number):
        sizes, batch = MLPS[number]
        make = lambda *shape: np.ones(shape, "f")
        self.forward, self.backward = [], []
        for i, (d, k) in enumerate(zip(sizes[:-1], sizes[1:], strict=True)):
            x, w, y, dw, dx = make(batch, d), make(d, k), make(batch, k), make(d, k), make(batch, d)
            self.forward.append((x, w, y))
            self.backward.append((x.T, y, dw))
            if i:
                self.backward.append((y, w.T, dx))

    def step(self):
        for a, b, y in (*self.forward, *self.backward):
            np.dot(a, b, y)

    def infer(self):
        for a, b, y in self.forward:
            np.dot(a, b, y)


# --------------------------------------------------------------------------------------------------------- PyTorch


class Torch:
    def __init__(self, number, ours, threads, compiled=False, channels_last=False):
        import torch
        from torch import nn

        torch.set_num_threads(threads)
        self.torch = torch
        self.name = "PyTorch, " + ("torch.compile" if compiled else "channels last" if channels_last else "eager, fused Adam")
        p = tree.flatten(ours.start)
        t = lambda a: torch.tensor(np.ascontiguousarray(a))

        def linear(path, order=None):
            k = p[f"{path}/kernel"]
            k = k if order is None else k[order]
            layer = nn.Linear(*k.shape)
            layer.weight.data, layer.bias.data = t(k.T), t(p[f"{path}/bias"])
            return layer

        def conv(path, bias, padding=0):
            k = p[f"{path}/kernel"]
            layer = nn.Conv2d(k.shape[2], k.shape[3], k.shape[0], bias=bias, padding=padding)
            layer.weight.data = t(k.transpose(3, 2, 0, 1))
            if bias:
                layer.bias.data = t(p[f"{path}/bias"])
            return layer

        class Residual(nn.Module):
            def __init__(self):
                super().__init__()
                self.first, self.second = conv("block/first", False, 1), conv("block/second", False, 1)
                self.norm_1, self.norm_2 = nn.BatchNorm2d(64, eps=1e-5), nn.BatchNorm2d(64, eps=1e-5)

            def forward(self, x):
                h = torch.relu(self.norm_1(self.first(x)))
                return torch.relu(x + self.norm_2(self.second(h))).mean((2, 3))

        class Attention(nn.Module):
            def __init__(self):
                super().__init__()
                self.norm_1, self.norm_2 = nn.LayerNorm(128), nn.LayerNorm(128)
                self.qkv, self.proj, self.up, self.down = (linear(f"block/{n}") for n in ("qkv", "proj", "up", "down"))

            def forward(self, x):
                n, tokens, width = x.shape
                q, k, v = self.qkv(self.norm_1(x)).reshape(n, tokens, 3, 4, width // 4).permute(2, 0, 3, 1, 4)
                mixed = nn.functional.scaled_dot_product_attention(q, k, v)
                x = x + self.proj(mixed.permute(0, 2, 1, 3).reshape(n, tokens, width))
                return (x + self.down(nn.functional.gelu(self.up(self.norm_2(x))))).mean(1)

        dense = [name.removesuffix("/kernel") for name in p if name.startswith("dense") and name.endswith("/kernel")]
        if number in MLPS:
            parts = [linear(dense[0])]
            for name in dense[1:]:
                parts += [nn.ReLU(), linear(name)]
        elif number == 5:
            order = np.arange(4 * 4 * 16).reshape(4, 4, 16).transpose(2, 0, 1).ravel()  # our rows are (space, channel), theirs (channel, space)
            parts = [conv("conv2d", True), nn.ReLU(), nn.MaxPool2d(2), conv("conv2d_1", True), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten()]
            parts += [linear(dense[0], order), nn.ReLU(), linear(dense[1]), nn.ReLU(), linear(dense[2])]
        else:
            parts = [Residual() if number == 6 else Attention(), linear("dense")]
        self.net = nn.Sequential(*parts)
        x = ours.x.transpose(0, 3, 1, 2) if number in (5, 6) else ours.x
        self.x, self.y = t(x), torch.tensor(ours.y)
        if channels_last:
            self.net, self.x = self.net.to(memory_format=torch.channels_last), self.x.to(memory_format=torch.channels_last)
        self.opt = torch.optim.Adam(self.net.parameters(), lr=1e-3, fused=True)
        self.loss = lambda: nn.functional.cross_entropy(self.call(self.x), self.y)
        if compiled:
            torch._dynamo.reset()  # else the code of eight networks is the most that it compiles
        self.call = torch.compile(self.net) if compiled else self.net

    def step(self):
        self.opt.zero_grad(set_to_none=True)
        loss = self.loss()
        loss.backward()
        self.opt.step()
        return loss.detach()

    def infer(self):
        self.net.eval()
        with self.torch.inference_mode():
            y = self.call(self.x)
        self.net.train()
        return y


# ------------------------------------------------------------------------------------------------------------- JAX


class Jax:
    name = "jax.jit"

    def __init__(self, number, ours):
        import jax
        import jax.numpy as jnp

        self.jax = jax
        params = jax.tree.map(jnp.asarray, ours.start)
        self.x, self.y = jnp.asarray(ours.x), jnp.asarray(ours.y)
        state = {name: {"mean": jnp.zeros(64), "var": jnp.ones(64)} for name in ("norm_1", "norm_2")} if number == 6 else {}
        zeros = jax.tree.map(jnp.zeros_like, params)
        self.all = (params, state, {"m": zeros, "v": jax.tree.map(jnp.zeros_like, params), "t": jnp.zeros((), jnp.int32)})

        def dense(p, x):
            return x @ p["kernel"] + p["bias"]

        def conv(w, x, padding):
            return jax.lax.conv_general_dilated(x, w, (1, 1), padding, dimension_numbers=("NHWC", "HWIO", "NHWC"))

        def pool(x):
            return jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")

        def layer_norm(p, x):
            m = x.mean(-1, keepdims=True)
            return (x - m) * jax.lax.rsqrt(((x - m) ** 2).mean(-1, keepdims=True) + 1e-5) * p["gamma"] + p["beta"]

        def batch_norm(p, s, x, training):
            if not training:
                return (x - s["mean"]) * jax.lax.rsqrt(s["var"] + 1e-5) * p["gamma"] + p["beta"], s
            m, v = x.mean((0, 1, 2)), x.var((0, 1, 2))
            n = x.shape[0] * x.shape[1] * x.shape[2]
            s = {"mean": 0.99 * s["mean"] + 0.01 * m, "var": 0.99 * s["var"] + 0.01 * v * n / (n - 1)}
            return (x - m) * jax.lax.rsqrt(v + 1e-5) * p["gamma"] + p["beta"], s

        def forward(p, state, x, training):
            if number in MLPS:
                names = list(p)
                for name in names[:-1]:
                    x = jax.nn.relu(dense(p[name], x))
                return dense(p[names[-1]], x), state
            if number == 5:
                for name in ("conv2d", "conv2d_1"):
                    x = pool(jax.nn.relu(conv(p[name]["kernel"], x, "VALID") + p[name]["bias"]))
                x = x.reshape(x.shape[0], -1)
                return dense(p["dense_2"], jax.nn.relu(dense(p["dense_1"], jax.nn.relu(dense(p["dense"], x))))), state
            b = p["block"]
            if number == 6:
                h, s1 = batch_norm(b["norm_1"], state["norm_1"], conv(b["first"]["kernel"], x, "SAME"), training)
                h, s2 = batch_norm(b["norm_2"], state["norm_2"], conv(b["second"]["kernel"], jax.nn.relu(h), "SAME"), training)
                return dense(p["dense"], jax.nn.relu(x + h).mean((1, 2))), {"norm_1": s1, "norm_2": s2}
            n, tokens, width = x.shape
            qkv = dense(b["qkv"], layer_norm(b["norm_1"], x)).reshape(n, tokens, 3, 4, width // 4)
            q, k, v = (jnp.swapaxes(qkv[:, :, i], 1, 2) for i in range(3))
            mixed = jax.nn.softmax(q @ jnp.swapaxes(k, -1, -2) * (width // 4) ** -0.5) @ v
            x = x + dense(b["proj"], jnp.swapaxes(mixed, 1, 2).reshape(n, tokens, width))
            x = x + dense(b["down"], jax.nn.gelu(dense(b["up"], layer_norm(b["norm_2"], x)), approximate=False))
            return dense(p["dense"], x.mean(1)), state

        def loss(p, state, x, y):
            z, state = forward(p, state, x, True)
            return -jnp.mean(jnp.take_along_axis(jax.nn.log_softmax(z), y[:, None], axis=1)), state

        def step(p, state, s, x, y):
            (value, state), g = jax.value_and_grad(loss, has_aux=True)(p, state, x, y)
            t = s["t"] + 1
            m = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, s["m"], g)
            v = jax.tree.map(lambda v, g: 0.999 * v + 0.001 * g * g, s["v"], g)
            c1, c2 = 1 - 0.9 ** t.astype("float32"), 1 - 0.999 ** t.astype("float32")
            p = jax.tree.map(lambda p, m, v: p - 1e-3 * (m / c1) / (jnp.sqrt(v / c2) + 1e-8), p, m, v)
            return p, state, {"m": m, "v": v, "t": t}, value

        self.run = jax.jit(step, donate_argnums=(0, 1, 2))
        self.infer_ = jax.jit(lambda p, state, x: forward(p, state, x, False)[0])

    def step(self):
        *self.all, loss = self.run(*self.all, self.x, self.y)
        return loss.block_until_ready()

    def infer(self):
        return self.infer_(self.all[0], self.all[1], self.x).block_until_ready()


class Sklearn:
    name = "scikit-learn MLP"

    def __init__(self, number, ours):
        from sklearn.neural_network import MLPClassifier

        sizes, batch = MLPS[number]
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

    def infer(self):
        return self.net.predict_proba(self.x)
