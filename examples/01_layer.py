"""Step 1: a layer is a matrix product

A layer of a neural network takes d numbers and gives k numbers. Each output is a weighted sum of all inputs, plus a
constant of its own:

    y_j = Σ_i x_i·w_ij + b_j            in one line    y = x·w + b

The inputs stand in a row x. The weights w are a matrix with d rows and k columns: column j holds the weights of output j.
The constants b, one for each output, are called the bias. For n examples x gets n rows, and the same line computes all
outputs at once: (n, d)·(d, k) → (n, k). That is why networks are fast: they are made of matrix products.

    python examples/01_layer.py --backend numpy

It prints, among other things:

    sum by sum          [[ 0.1000  0.2000] [ 1.0000 -2.1000]]
    x @ w + b           [[ 0.1000  0.2000] [ 1.0000 -2.1000]]
    ann.linear(x, w, b) [[ 0.1000  0.2000] [ 1.0000 -2.1000]]
    ann.Dense(2)        [[ 0.1000  0.2000] [ 1.0000 -2.1000]]
    3 inputs, 2 outputs: 3·2 + 2 = 8 parameters
    two layers without an activation differ from one by 0.0000
"""

import course

import ann
import backends

options = course.options(__doc__)
be = backends.get(options.backend)  # which array library, on which device
print(f"arrays of {be.name} on {be.device}\n")

x = be.asarray([[1.0, 2.0, 3.0], [0.0, 1.0, -1.0]])  # n = 2 examples (rows) of d = 3 numbers
w = be.asarray([[0.1, 0.4], [0.2, -0.5], [-0.3, 0.6]])  # the weights from d = 3 inputs to k = 2 outputs
b = be.asarray([0.5, -1.0])  # the bias of each output

# The definition, one sum at a time:
rows, weights, bias = (be.to_numpy(a).tolist() for a in (x, w, b))
y = [[sum(x_i * w_i[j] for x_i, w_i in zip(row, weights, strict=True)) + bias[j] for j in range(2)] for row in rows]
print("sum by sum         ", course.show(y))

# The same as one matrix product; b is added to each row.
print("x @ w + b          ", course.show(be.to_numpy(x @ w + b)))

# The same as a function of the library, which also knows its derivatives (step 4).
print("ann.linear(x, w, b)", course.show(be.to_numpy(ann.linear(x, w, b))))

# The same as a layer. A layer is configuration: it knows that it has 2 outputs. Its weights are a tree of arrays beside it,
# and `apply` computes with the tree that it is given.
layer = ann.Dense(2)
print("ann.Dense(2)       ", course.show(be.to_numpy(layer.apply({"kernel": w, "bias": b}, x))))

# `init` draws such a tree for inputs of a given size: random weights, since equal ones would all learn the same, and a bias
# of 0. The weights are uniform in ±√(6/(d + k)), so that the outputs are about as large as the inputs (Glorot & Bengio 2010).
params, _ = layer.init(x, seed=0)
print("\ndrawn for 3 inputs: kernel", course.show(be.to_numpy(params["kernel"])), " bias", course.show(be.to_numpy(params["bias"])))
print("3 inputs, 2 outputs: 3·2 + 2 = 8 parameters")

# Why a network needs more than layers of this kind: two of them in a row are one,
#     (x·w₁ + b₁)·w₂ + b₂ = x·(w₁·w₂) + (b₁·w₂ + b₂),
# whatever their sizes. Something that is not linear has to stand between them: an activation function, step 2.
w2, b2 = be.asarray([[1.0, -2.0], [0.5, 0.25]]), be.asarray([0.1, 0.2])
two = ann.linear(ann.linear(x, w, b), w2, b2)
one = ann.linear(x, w @ w2, b @ w2 + b2)
print(f"two layers without an activation differ from one by {float(be.xp.max(be.xp.abs(two - one))):.4f}\n")

course.picture(options, "01_weights", lambda: ann.plot.weights(w, title="the weights of the layer"))
