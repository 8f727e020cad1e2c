"""Writes tests/goldens/metrics.json: metrics of scikit-learn and SciPy on small cases with ties, missing and unmentioned labels.

    python tests/goldens/write_metric_goldens.py        # needs scikit-learn and scipy
"""
import json
import math
import pathlib
import warnings

import numpy as np
import scipy.stats
import sklearn.metrics as sk

warnings.simplefilter("ignore")
random = np.random.default_rng(20)


def probabilities(rows, classes, digits):
    table = random.dirichlet(np.ones(classes), rows).round(digits) + 10.0**-digits  # rounding makes ties
    return table / table.sum(1, keepdims=True)


def defined(value):
    return None if math.isnan(value) else float(value)


def auc(truth, table):
    classes = table.shape[1]
    if len(set(truth)) < classes:
        return None
    return float(sk.roc_auc_score(truth, table[:, 1] if classes == 2 else table, multi_class="ovr"))


def classification(name, truth, table):
    truth = np.asarray(truth)
    predicted = table.argmax(1)
    classes = table.shape[1]
    return {
        "name": name, "classes": classes, "truth": truth.tolist(), "probabilities": table.ravel().tolist(),
        "accuracy": sk.accuracy_score(truth, predicted),
        "f1_macro": sk.f1_score(truth, predicted, average="macro"),
        "f1_weighted": sk.f1_score(truth, predicted, average="weighted"),
        "f1_micro": sk.f1_score(truth, predicted, average="micro"),
        "mcc": sk.matthews_corrcoef(truth, predicted),
        "roc_auc": auc(truth.tolist(), table),
        "log_loss": sk.log_loss(truth, table, labels=list(range(classes))),
        "confusion": sk.confusion_matrix(truth, predicted, labels=list(range(classes))).ravel().tolist(),
    }


def regression(name, truth, predicted):
    return {
        "name": name, "truth": list(map(float, truth)), "predicted": list(map(float, predicted)),
        "mse": sk.mean_squared_error(truth, predicted),
        "pearson": defined(scipy.stats.pearsonr(truth, predicted)[0]),
        "spearman": defined(scipy.stats.spearmanr(truth, predicted)[0]),
    }


constant = np.tile([0.7, 0.3], (9, 1))
certain = np.eye(3)[[0, 1, 2, 0, 1, 1]]
x = random.normal(size=25).round(1)
goldens = {
    "classification": [
        classification("binary with ties", random.integers(0, 2, 40), probabilities(40, 2, 1)),
        classification("binary, fine scores", random.integers(0, 2, 30), probabilities(30, 2, 6)),
        classification("four classes", random.integers(0, 4, 60), probabilities(60, 4, 1)),
        classification("a class the truth lacks", random.integers(0, 3, 20), probabilities(20, 4, 2)),
        classification("a label nobody mentions", [0, 1, 0, 1, 1], probabilities(5, 2, 3) @ np.eye(2, 5)),
        classification("one class in the truth", [1] * 9, constant),
        classification("always the same prediction", [0, 1, 0, 1, 1, 1, 0, 0, 1], constant),
        classification("certain and twice wrong", [0, 1, 2, 2, 1, 0], certain),
        classification("perfect", [0, 1, 2, 0, 1, 1], certain),
    ],
    "regression": [
        regression("ties", x, (0.5 * x + random.normal(size=25)).round(1)),
        regression("opposite", x, -2 * x + 1),
        regression("constant prediction", [1.0, 2.0, 4.0], [2.0, 2.0, 2.0]),
        regression("two rows", [0.0, 1.0], [3.0, 2.0]),
    ],
}
pathlib.Path(__file__).with_name("metrics.json").write_text(json.dumps(goldens, indent=None) + "\n")
