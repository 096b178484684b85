"""Step 13: networks as scikit-learn estimators

scikit-learn's tools, pipelines, cross-validation, grid search, work with every object that has `fit`, `predict` and
parameters. `ann.estimators.MLPClassifier` is such an object. It has the parameters of scikit-learn's own MLPClassifier, takes
labels of any kind, and on the same data it learns as well. What scikit-learn's does not have: dropout, class weights, other
losses and activations, validation data of your own, callbacks; and `backend=`: the network runs on the library you name, on a
GPU if that has one, while the pipeline around it stays as it is.

Here it reads handwritten digits, called by their names. A grid search looks for the size of the hidden layer and the share of
dropout by cross-validation: each candidate is trained on two thirds of the data and judged by the rest, three times over.
Then classes that are rare get a greater weight, and the estimator goes to a file and back.

    python examples/sklearn_pipeline.py --backend numpy

It prints, among other things:

    accuracy 0.92 with dropout 0.0, hidden_layer_sizes (16,)
    accuracy 0.94 with dropout 0.3, hidden_layer_sizes (64,)
    test accuracy of the best: 0.96
    of scikit-learn's own:     0.96
    rare eights that are found, class_weight=None       0.00
    rare eights that are found, class_weight='balanced' 0.60
    stored and read: the predictions are identical
"""

import pickle

import course
import numpy as np
from sklearn.model_selection import GridSearchCV
from sklearn.neural_network import MLPClassifier as TheirClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import ann
from ann.estimators import MLPClassifier

options = course.options(__doc__)
NAMES = np.array(["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"])
(x, y), (x_test, y_test) = ann.datasets.digits()
x, x_test = x.reshape(-1, 64), x_test.reshape(-1, 64)
y, y_test = NAMES[y], NAMES[y_test]
if options.quick:
    x, y = x[:200], y[:200]

# A pipeline: first every pixel gets mean 0 and variance 1, then the network sees it.
common = {"batch_size": 32, "learning_rate_init": 0.002, "tol": 0.003, "n_iter_no_change": 2, "random_state": 0}
if options.quick:
    common["tol"] = 0.3
pipeline = make_pipeline(StandardScaler(), MLPClassifier(backend=options.backend, **common))

grid = {"mlpclassifier__hidden_layer_sizes": [(16,), (64,)], "mlpclassifier__dropout": [0.0, 0.3]}
search = GridSearchCV(pipeline, grid, cv=3).fit(x, y)
print("cross-validation:")
for parameters, accuracy in zip(search.cv_results_["params"], search.cv_results_["mean_test_score"], strict=True):
    print(f"accuracy {accuracy:.2f} with " + ", ".join(f"{name.partition('__')[2]} {value}" for name, value in parameters.items()))
best = search.best_estimator_
print(f"\nbest: {search.best_params_}, trained for {best[-1].n_iter_} epochs")
print(f"test accuracy of the best: {best.score(x_test, y_test):.2f}")
theirs = make_pipeline(StandardScaler(), TheirClassifier(best[-1].hidden_layer_sizes, **common)).fit(x, y)
print(f"of scikit-learn's own:     {theirs.score(x_test, y_test):.2f}\n")

# Rare eights: all but twelve are left out. With a strong penalty on the weights (alpha) the network loses little by never
# saying "eight"; class_weight="balanced" gives each class the same weight in the loss.
kept = (y != "eight") | (np.cumsum(y == "eight") <= 12)
eights = x_test[y_test == "eight"]
for weight in (None, "balanced"):
    network = MLPClassifier((64,), alpha=1.0, class_weight=weight, backend=options.backend, **common)
    found = make_pipeline(StandardScaler(), network).fit(x[kept], y[kept]).predict(eights) == "eight"
    print(f"rare eights that are found, class_weight={weight!r:<10} {found.mean():.2f}")

# An estimator can be stored, with pickle or joblib, as any of scikit-learn.
again = pickle.loads(pickle.dumps(best))
same = np.array_equal(again.predict_proba(x_test), best.predict_proba(x_test))
print(f"\nstored and read: the predictions are {'identical' if same else 'DIFFERENT'}\n")


def draw():
    figure, (left, right) = course.panels(2)
    curve = best[-1].loss_curve_
    left.plot(range(1, len(curve) + 1), curve)
    left.set(title="loss_curve_ of the best", xlabel="epoch", ylabel="loss", yscale="log")
    classes = list(best.classes_)
    indices = [np.searchsorted(classes, labels) for labels in (y_test, best.predict(x_test))]
    ann.plot.confusion_matrix(ann.metrics.confusion_matrix(*indices, classes=10), classes, ax=right)
    return figure


course.picture(options, "13_sklearn_pipeline", draw)
