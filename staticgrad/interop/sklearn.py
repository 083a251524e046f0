"""Modules as estimators of scikit-learn: a classifier and a regressor that train by mini-batches.

Public as ``sg.sklearn``; scikit-learn is imported with it.
"""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from typing import TYPE_CHECKING, Any

import numpy as np

from staticgrad import nn, optim
from staticgrad.language.ir.calls import namespace
from staticgrad.nn.initial import seeded
from staticgrad.programs.function import Function, function
from staticgrad.support import optional
from staticgrad.support.errors import ArgumentError, DTypeError
from staticgrad.support.errors.wording import kind_of
from staticgrad.train import Batches, fit

__all__ = ["Classifier", "Regressor"]


try:
    from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
    from sklearn.utils.multiclass import check_classification_targets
    from sklearn.utils.validation import check_is_fitted, check_random_state, validate_data
except ModuleNotFoundError:  # an estimator raises the error that says how to install it

    class BaseEstimator:  # type: ignore[no-redef]
        if not TYPE_CHECKING:

            def __new__(cls, *args: Any, **options: Any) -> Any:
                return optional.sklearn("base")

    class ClassifierMixin:  # type: ignore[no-redef]
        pass

    class RegressorMixin:  # type: ignore[no-redef]
        pass


def _perceptron(inputs: int, outputs: int) -> nn.Module:
    return nn.Sequential(nn.Linear(inputs, 64), nn.relu, nn.Linear(64, outputs))


def _program_of(module: nn.Module) -> Function[..., Any]:
    return function(lambda x: module(x), sizes={"x": ("rows", None)})


class _Network(BaseEstimator):  # type: ignore[misc]
    def __init__(
        self,
        module: Callable[[int, int], nn.Module] | nn.Module | None = None,
        *,
        loss: Callable[[Any, Any], Any] | None = None,
        optimizer: optim.Optimizer | None = None,
        epochs: int = 100,
        batch_size: int = 32,
        dtype: str = "float32",
        random_state: Any = None,
    ) -> None:
        self.module = module
        self.loss = loss
        self.optimizer = optimizer
        self.epochs = epochs
        self.batch_size = batch_size
        self.dtype = dtype
        self.random_state = random_state

    def _train(self, x: Any, y: Any, outputs: int, loss: Callable[[Any, Any], Any]) -> None:
        random = check_random_state(self.random_state)
        seeds = [int(each) for each in random.randint(2**31 - 1, size=2)]
        model = self._made(x.shape[1], outputs, seeds[0])
        optimizer = optim.Adam(1e-2) if self.optimizer is None else deepcopy(self.optimizer)
        loss = self.loss or loss

        @function(sizes={"x": ("rows", None)})
        def step(x: Any, y: Any) -> Any:
            value = loss(model(x), y)
            optimizer.minimize(value)
            return value

        batches = Batches(x.astype(self.dtype), y, size=self.batch_size, seed=seeds[1])
        history = fit(step, batches, self.epochs, progress=lambda line: None)
        self.module_, self.loss_curve_ = model.eval(), history.losses
        self._program = _program_of(self.module_)

    def _made(self, inputs: int, outputs: int, seed: int) -> nn.Module:
        if isinstance(self.module, nn.Module):
            return deepcopy(self.module).train()
        with seeded(seed):
            model = (self.module or _perceptron)(inputs, outputs)
        if not isinstance(model, nn.Module):
            raise ArgumentError(f"module gives {kind_of(model)}, not a Module")
        return model.train()

    def _outputs(self, X: Any) -> Any:
        check_is_fitted(self)
        return self._program(_validated(self, X, reset=False).astype(self.dtype))

    def __getstate__(self) -> Any:
        state = super().__getstate__()
        return {name: each for name, each in state.items() if name != "_program"}

    def __setstate__(self, state: Any) -> None:
        super().__setstate__(state)
        if "module_" in state:
            self._program = _program_of(self.module_)


def _validated(estimator: Any, X: Any, *y: Any, **options: Any) -> Any:
    """The arrays, checked by scikit-learn, with its words in an error that has a code."""
    try:
        return validate_data(estimator, X, *y, **options)
    except (TypeError, ValueError) as error:
        headline, *details = str(error).splitlines()
        dtype = getattr(X, "dtype", None)
        of = "" if dtype is None else f"; X is of {dtype}"
        kind = DTypeError if isinstance(error, TypeError) else ArgumentError
        raise kind(f"{type(estimator).__name__}: {headline}{of}", details=details) from None


class Classifier(ClassifierMixin, _Network):  # type: ignore[misc]
    """A module as a classifier of scikit-learn, trained on the cross-entropy of its logits.

    Args:
        module: a function of the numbers of features and classes that makes a Module; or a Module,
            of which ``fit`` trains a copy. By default a perceptron with 64 hidden units.
        loss: a function of logits and classes (0, 1, ...) in the place of the cross-entropy.
        optimizer: of ``sg.optim``, of which ``fit`` uses a copy; ``Adam(1e-2)`` by default.
        epochs, batch_size: of the training.
        dtype: to which features are converted.
        random_state: seed of the first weights and the order of batches, as scikit-learn takes it.

    Attributes:
        module_, classes_, loss_curve_: the trained Module, the labels, the mean loss of each epoch.

    >>> from sklearn.datasets import load_iris
    >>> x, y = load_iris(return_X_y=True)
    >>> network = sg.sklearn.Classifier(epochs=30, random_state=0).fit(x, y)
    >>> bool(network.score(x, y) > 0.9), network.predict_proba(x[:2]).shape
    (True, (2, 3))
    """

    def fit(self, X: Any, y: Any) -> Classifier:
        """Train a new module on rows of features and their labels."""
        X, y = _validated(self, X, y)
        check_classification_targets(y)
        self.classes_, places = np.unique(y, return_inverse=True)
        self._train(X, places.astype("int64"), len(self.classes_), nn.cross_entropy)
        return self

    def predict_proba(self, X: Any) -> Any:
        """Return the probability of each class, in the order of ``classes_``."""
        logits = self._outputs(X)
        shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
        return shifted / shifted.sum(axis=1, keepdims=True)

    def predict(self, X: Any) -> Any:
        """Return the most probable label of each row."""
        outputs = self._outputs(X)
        return self.classes_[outputs.argmax(axis=1)]


class Regressor(RegressorMixin, _Network):  # type: ignore[misc]
    """A module as a regressor of scikit-learn, trained on the mean squared error.

    Args:
        module: a function of the numbers of features and targets that makes a Module; or a Module,
            of which ``fit`` trains a copy. By default a perceptron with 64 hidden units.
        loss: a function of outputs and targets [rows, targets] in the place of the squared error.
        optimizer, epochs, batch_size, dtype, random_state: as ``Classifier``.

    Attributes:
        module_, loss_curve_: the trained Module, the mean loss of each epoch.

    >>> from sklearn.datasets import load_diabetes
    >>> x, y = load_diabetes(return_X_y=True)
    >>> network = sg.sklearn.Regressor(epochs=30, random_state=0).fit(x, y / 100)
    >>> bool(network.score(x, y / 100) > 0.4)
    True
    """

    def fit(self, X: Any, y: Any) -> Regressor:
        """Train a new module on rows of features and their targets, one or several each."""
        X, y = _validated(self, X, y, multi_output=True, y_numeric=True)
        self._is_flat = y.ndim == 1
        targets = y.reshape(len(y), -1).astype(self.dtype)
        self._train(X, targets, targets.shape[1], nn.mse)
        return self

    def predict(self, X: Any) -> Any:
        """Return the targets of each row, in the shape that ``fit`` was given."""
        outputs = self._outputs(X).astype("float64")
        return outputs[:, 0] if self._is_flat else outputs

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags


namespace(globals())
