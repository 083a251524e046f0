"""Logistic regression by Newton's method: SciPy's trust-ncg with gradients and Hessian products.

SciPy decides where to go, and asks for the loss, its gradient, and the Hessian times a vector,
which is the derivative of the gradient along it: no Hessian is ever made. scikit-learn minimises
the same function.
"""

from typing import Any

import numpy as np
from scipy.optimize import minimize
from sklearn.datasets import load_breast_cancer
from sklearn.linear_model import LogisticRegression
from ways import Array, Found, Way, show

import staticgrad as sg

TOLERANCE = 1e-6


def data() -> tuple[Array, Array]:
    tumours: Any = load_breast_cancer()
    x: Array = tumours.data
    y: Array = tumours.target
    return (x - x.mean(0)) / x.std(0), y.astype("float64")


def run(way: Way) -> Found:
    x, y = data()

    def loss(w: sg.Value, x: sg.Value, y: sg.Value) -> sg.Value:
        """The sum of the losses and half the square of the weights, but for the last: the bias."""
        logits = x @ w[:-1] + w[-1]
        return sg.nn.binary_cross_entropy_with_logits(logits, y, "sum") + 0.5 * (w[:-1] ** 2).sum()

    def product(w: sg.Value, v: sg.Value, x: sg.Value, y: sg.Value) -> sg.Value:
        return sg.hvp(lambda w: loss(w, x, y), w, v)

    with_slope = way(sg.value_and_grad(loss))
    along = way(product)
    found = minimize(
        lambda w: with_slope(w, x, y),
        np.zeros(31),
        method="trust-ncg",
        jac=True,
        hessp=lambda w, v: along(w, v, x, y),
        options={"gtol": 1e-8},
    )
    return {"weights": found.x, "loss": found.fun}


def check(found: Found) -> None:
    theirs = LogisticRegression(solver="newton-cholesky", tol=1e-12).fit(*data())
    expected = np.append(theirs.coef_, theirs.intercept_)
    np.testing.assert_allclose(found["weights"], expected, rtol=1e-6, atol=1e-8)


def main(**sizes: int) -> None:
    show(run, check, TOLERANCE, **sizes)


if __name__ == "__main__":
    main()
