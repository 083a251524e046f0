"""Modules as estimators of scikit-learn: a classifier and a regressor that train by mini-batches.

Public as ``sg.sklearn``; scikit-learn is imported with it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from typing import TYPE_CHECKING, Any

import numpy as np

from staticgrad import nn, optim
from staticgrad.errors import ArgumentError, DTypeError
from staticgrad.extend import functions, kind_of, namespace, optional, quote
from staticgrad.extend.programs import Function
from staticgrad.nn.initial import seed_first_values
from staticgrad.programs.function import function
from staticgrad.programs.transformed import vmap
from staticgrad.train import Batches, Epoch, fit

__all__ = ["Classifier", "Regressor"]


try:
    from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin, is_classifier
    from sklearn.metrics import accuracy_score, r2_score
    from sklearn.model_selection import train_test_split
    from sklearn.utils.class_weight import compute_class_weight
    from sklearn.utils.multiclass import check_classification_targets, unique_labels
    from sklearn.utils.validation import (
        check_array,
        check_is_fitted,
        check_random_state,
        validate_data,
    )
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
        warm_start: bool = False,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        n_iter_no_change: int = 10,
        tol: float = 1e-4,
    ) -> None:
        self.module = module
        self.loss = loss
        self.optimizer = optimizer
        self.epochs = epochs
        self.batch_size = batch_size
        self.dtype = dtype
        self.random_state = random_state
        self.warm_start = warm_start
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.tol = tol

    def _goes_on(self, is_part: bool) -> bool:
        """Return whether an estimator continues training its fitted module."""
        if is_part and self.early_stopping:
            raise ArgumentError(
                f"{type(self).__name__}.partial_fit: there is no early stopping of one epoch",
                hint="early_stopping=False, or fit",
            )
        return hasattr(self, "module_") and (is_part or bool(self.warm_start))

    def _train(
        self,
        x: Any,
        y: Any,
        weights: Any,
        outputs: int,
        loss: Callable[..., Any],
        is_part: bool,
    ) -> None:
        """Train the estimator's module by mini-batches until its stopping rule ends it."""
        stops = _EarlyStopping(self) if self.early_stopping else None
        random = check_random_state(self.random_state)
        if not self._goes_on(is_part):
            self._seeds = [int(seed) for seed in random.randint(2**31 - 1, size=2)]
            self.module_ = self._make_module(x.shape[1], outputs, self._seeds[0])
            self._program = _program_of(self.module_)
            self.loss_curve_: list[float] = []
            self.n_iter_ = 0
            self.validation_scores_ = self.best_validation_score_ = None
        elif not is_part:  # the measure of another split
            self.validation_scores_ = self.best_validation_score_ = None
        if not is_part or not hasattr(self, "_optimizer"):
            optimizer = self.optimizer
            self._optimizer = optim.Adam(1e-2) if optimizer is None else deepcopy(optimizer)
            self._step: Any = None
        if getattr(self, "_step", None) is None:
            self._step = _step_of(self.module_, self._optimizer, self.loss, loss)
        if weights is not None and not (weights > 0).all():
            x, y, weights = (array[weights > 0] for array in (x, y, weights))
        arrays = [x.astype(self.dtype), y]
        if weights is not None:
            arrays.append(weights)
        if stops is not None:
            arrays = stops.split(arrays, random)
        if len(arrays) > 2:
            arrays[2] = (arrays[2] / arrays[2].mean()).astype(self.dtype)
            if (arrays[2] == 1).all():
                del arrays[2:]
        batches = _FurtherBatches(*arrays, size=self.batch_size, seed=self._seeds[1])
        batches.passed = self.n_iter_
        self.module_.train()
        try:
            history = fit(
                self._step,
                batches,
                1 if is_part else self.epochs,
                callbacks=[] if stops is None else [stops],
                progress=False,
            )
        finally:
            self.module_.eval()
        self.loss_curve_ = [*self.loss_curve_, *history.losses]
        self.n_iter_ = len(self.loss_curve_)
        if stops is not None:
            stops.restore()
        self.best_loss_ = None if stops else min(self.loss_curve_, default=None)

    def _make_module(self, inputs: int, outputs: int, seed: int) -> nn.Module:
        """Copy or build the module that a scikit-learn estimator trains."""
        if isinstance(self.module, nn.Module):
            return deepcopy(self.module).train()
        with seed_first_values(seed):
            model = (self.module or _perceptron)(inputs, outputs)
        if not isinstance(model, nn.Module):
            raise ArgumentError(f"module gives {kind_of(model)}, not a Module")
        return model.train()

    def _weights(self, sample_weight: Any, x: Any) -> Any:
        """Check scikit-learn's sample weights: float64 for each row; None without weights."""
        if sample_weight is None:
            return None
        with _errors_of(self):
            weights = check_array(
                sample_weight, ensure_2d=False, dtype=np.float64, input_name="sample_weight"
            )
        weights = np.broadcast_to(weights, len(x)) if weights.ndim == 0 else weights
        if weights.shape != (len(x),):
            raise ArgumentError(
                f"{type(self).__name__}: sample_weight.shape is {weights.shape}; the shape of one"
                f" weight for each row is {(len(x),)}"
            )
        if (weights < 0).any():
            raise ArgumentError(
                f"{type(self).__name__}: sample_weight has {quote(weights.min())}, and weights are"
                " 0 or more"
            )
        if not weights.any():
            raise ArgumentError(f"{type(self).__name__}: sample_weight is zero for all rows")
        return weights

    def _outputs(self, X: Any) -> Any:
        check_is_fitted(self)
        return self._program(_validate_arrays(self, X, reset=False).astype(self.dtype))

    def __getstate__(self) -> Any:
        state = super().__getstate__()
        return {name: value for name, value in state.items() if name not in ("_program", "_step")}

    def __setstate__(self, state: Any) -> None:
        super().__setstate__(state)
        if "module_" in state:
            self._program = _program_of(self.module_)


def _step_of(
    model: nn.Module,
    optimizer: optim.Optimizer,
    user_loss: Callable[[Any, Any], Any] | None,
    default: Callable[..., Any],
) -> Function[..., Any]:
    """Return a training step of an estimator on a batch, with or without row weights."""

    def by_row(outputs: Any, y: Any) -> Any:
        if user_loss is not None:  # a loss of a user is one of batches: of one row each
            return vmap(lambda output, target: user_loss(output[None], target[None]))(outputs, y)
        losses = default(outputs, y, reduction="none")
        return losses if losses.ndim == 1 else functions.mean(losses, 1)

    @function(sizes={"x": ("rows", None)})
    def step(x: Any, y: Any, weights: Any = None) -> Any:
        """Update an estimator's module by one batch, with row weights if there are any."""
        outputs = model(x)
        if weights is None:
            value = (user_loss or default)(outputs, y)
        else:
            value = functions.mean(by_row(outputs, y) * weights)
        optimizer.minimize(value)
        return value

    return step


class _FurtherBatches(Batches[Any]):
    """Batches whose order goes on behind epochs that passed."""

    passed = 0

    def epoch(self, number: int, start: int = 0) -> Iterator[Any]:
        return super().epoch(self.passed + number, start)


class _EarlyStopping:
    """A callback that scores rows that are not trained on, and says when they stop improving."""

    def __init__(self, network: Any) -> None:
        self._network, name = network, type(network).__name__
        fraction, most, tol = (
            network.validation_fraction, network.n_iter_no_change, network.tol
        )  # fmt: skip
        if not isinstance(fraction, float) or not 0.0 < fraction < 1.0:
            raise ArgumentError(f"{name}: validation_fraction={quote(fraction)} is not in (0, 1)")
        if isinstance(most, bool) or not isinstance(most, int | np.integer) or most < 1:
            raise ArgumentError(f"{name}: n_iter_no_change={quote(most)} is not 1 or more")
        if isinstance(tol, bool) or not isinstance(tol, int | float) or not tol >= 0:
            raise ArgumentError(f"{name}: tol={quote(tol)} is not a number from 0 on")
        self._scores: list[float] = []
        self._best, self._state, self._without = -np.inf, network, 0

    def split(self, arrays: list[Any], random: Any) -> list[Any]:
        """Split off rows for validation (early stopping), and return the rows to train on."""
        network = self._network
        stratify = arrays[1] if is_classifier(network) else None
        with _errors_of(network):
            parts = train_test_split(
                *arrays,
                random_state=random,
                test_size=network.validation_fraction,
                stratify=stratify,
            )
        self._rows, self._targets, *weights = parts[1::2]
        self._weights = weights[0] if weights else None
        if len(self._rows) < 2:
            raise ArgumentError(
                f"{type(network).__name__}: {len(self._rows)} of {len(arrays[0])} rows are for"
                " validation, and two is the least",
                hint="a larger validation_fraction, or more rows",
            )
        train_parts: list[Any] = parts[0::2]
        return train_parts

    def __call__(self, epoch: Epoch) -> str | None:
        network = self._network
        module = network.module_.eval()
        score = network._score(network._program(self._rows), self._targets, self._weights)
        module.train()
        self._scores.append(score)
        self._without = 0 if score >= self._best + network.tol and score > self._best else (
            self._without + 1
        )  # fmt: skip
        if score > self._best:
            self._best, self._state = score, module.state_dict()
        if self._without >= network.n_iter_no_change:
            return f"no better score for {self._without} epochs"
        return None

    def restore(self) -> None:
        """Give the module its best parameters back."""
        network = self._network
        if self._state is not network:
            network.module_.load_state_dict(self._state)
        network.validation_scores_ = self._scores
        network.best_validation_score_ = max(self._scores, default=None)


@contextmanager
def _errors_of(estimator: Any, X: Any = None) -> Iterator[None]:
    """Give errors of scikit-learn's validation our error class, with the same text."""
    try:
        yield
    except (TypeError, ValueError) as error:
        if isinstance(error, ArgumentError | DTypeError):
            raise
        headline, *details = str(error).splitlines()
        dtype = getattr(X, "dtype", None)
        of = "" if dtype is None else f"; X is of {dtype}"
        kind = DTypeError if isinstance(error, TypeError) else ArgumentError
        raise kind(f"{type(estimator).__name__}: {headline}{of}", details=details) from None


def _validate_arrays(estimator: Any, X: Any, *y: Any, **options: Any) -> Any:
    """The arrays, checked by scikit-learn, with its words in an error that has a code."""
    with _errors_of(estimator, X):
        return validate_data(estimator, X, *y, **options)


class Classifier(ClassifierMixin, _Network):  # type: ignore[misc]
    """A module as a classifier of scikit-learn, trained on the cross-entropy of its logits.

    Args:
        module: a function of the numbers of features and classes that makes a Module; or a Module,
            of which ``fit`` trains a copy. By default a perceptron with 64 hidden units.
        loss: a function of logits and classes (0, 1, ...) in the place of the cross-entropy. With
            weights of rows it is called on batches of one row.
        optimizer: of ``sg.optim``, of which ``fit`` uses a copy; ``Adam(1e-2)`` by default.
        epochs, batch_size: of the training.
        dtype: to which features are converted.
        random_state: seed of the first weights and the order of batches, as scikit-learn takes it.
        warm_start: ``fit`` trains the module of the ``fit`` before further, by a new optimizer.
        early_stopping: hold ``validation_fraction`` of the rows out, score them after each epoch,
            stop behind ``n_iter_no_change`` epochs in a row whose score is not better than the best
            by at least ``tol``, and restore the parameters with the best score. Without it
            ``epochs`` epochs are made.
        validation_fraction, n_iter_no_change, tol: of early stopping alone.
        class_weight: weights of classes by label, 1 for others; or "balanced", by which all classes
            have the same weight in sum. The weight of a row is multiplied by that of its class.

    Attributes:
        module_, classes_, loss_curve_: the trained Module, the labels, the mean loss of each epoch.
        n_iter_, best_loss_: the number of epochs, the smallest loss; None with early stopping.
        validation_scores_, best_validation_score_: of early stopping; else None.

    >>> from sklearn.datasets import load_iris
    >>> x, y = load_iris(return_X_y=True)
    >>> network = sg.sklearn.Classifier(epochs=30, random_state=0).fit(x, y)
    >>> bool(network.score(x, y) > 0.9), network.predict_proba(x[:2]).shape
    (True, (2, 3))
    """

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
        warm_start: bool = False,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        n_iter_no_change: int = 10,
        tol: float = 1e-4,
        class_weight: Any = None,
    ) -> None:
        super().__init__(
            module,
            loss=loss,
            optimizer=optimizer,
            epochs=epochs,
            batch_size=batch_size,
            dtype=dtype,
            random_state=random_state,
            warm_start=warm_start,
            early_stopping=early_stopping,
            validation_fraction=validation_fraction,
            n_iter_no_change=n_iter_no_change,
            tol=tol,
        )
        self.class_weight = class_weight

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Classifier:
        """Train a module on rows of features and their labels.

        Args:
            X, y: rows of features, and the label of each.
            sample_weight: the weight of each row in the loss: 2 as the row twice, 0 as without it.

        Raises:
            ArgumentError, DTypeError: rows, labels, weights or options that do not fit.
        """
        again = self._goes_on(is_part=False)
        X, y = _validate_arrays(self, X, y, reset=not again)
        with _errors_of(self):
            check_classification_targets(y)
        labels = np.unique(y)
        if again and not np.array_equal(labels, self.classes_):
            raise ArgumentError(
                f"Classifier: warm_start with classes {quote(labels)} after {quote(self.classes_)}",
                hint="the same classes; or partial_fit, whose y may have some of them",
            )
        return self._fit_rows(X, y, labels, sample_weight, is_part=False)

    def partial_fit(
        self, X: Any, y: Any, classes: Any = None, sample_weight: Any = None
    ) -> Classifier:
        """Train further, by one epoch over rows.

        As many calls with the same rows as ``fit`` has epochs give the network of ``fit``.

        Args:
            X, y, sample_weight: as of ``fit``.
            classes: all labels that there will be, in the first call; later ones may leave it out.

        Raises:
            ArgumentError: no classes in the first call, others later, or a label of no class; else
                as ``fit``.
        """
        again = self._goes_on(is_part=True)
        X, y = _validate_arrays(self, X, y, reset=not again)
        if classes is None and not again:
            raise ArgumentError(
                "Classifier: classes must be passed on the first call to partial_fit.",
                hint="partial_fit(X, y, classes=[0, 1, 2])",
            )
        if self.class_weight is not None and isinstance(self.class_weight, str):
            raise ArgumentError(
                f"Classifier.partial_fit: class_weight={quote(self.class_weight)} needs all rows",
                hint="class_weight={label: weight}",
            )
        with _errors_of(self):
            check_classification_targets(y)
            labels = self.classes_ if classes is None else unique_labels(classes)
        if again and not np.array_equal(labels, self.classes_):
            raise ArgumentError(
                f"Classifier.partial_fit: classes are {quote(labels)}, and were"
                f" {quote(self.classes_)}"
            )
        unknown = np.setdiff1d(y, labels)
        if unknown.size:
            raise ArgumentError(
                f"Classifier.partial_fit: y has {quote(unknown[0])}, and the classes are"
                f" {quote(labels)}"
            )
        return self._fit_rows(X, y, labels, sample_weight, is_part=True)

    def _fit_rows(
        self, X: Any, y: Any, labels: Any, sample_weight: Any, is_part: bool
    ) -> Classifier:
        """Train a classifier on label indices, with class weights multiplied into row weights."""
        places = np.searchsorted(labels, y).astype("int64")
        weights = self._weights(sample_weight, X)
        if self.class_weight is not None:
            by_class = self._class_weights(labels, places, weights)[places]
            weights = by_class if weights is None else weights * by_class
        self.classes_ = labels
        self._train(X, places, weights, len(labels), nn.cross_entropy, is_part)
        return self

    def _class_weights(self, labels: Any, places: Any, weights: Any) -> Any:
        """Return the weight of each class: balanced by counts, or from a dict."""
        if isinstance(self.class_weight, str) and self.class_weight == "balanced":
            counts = np.bincount(places, weights, minlength=len(labels))
            present = np.count_nonzero(counts)
            return counts.sum() / (present * np.where(counts, counts, 1.0))
        if not isinstance(self.class_weight, dict):
            raise ArgumentError(
                f"Classifier: class_weight is {quote(self.class_weight)}",
                hint='{label: weight}, or "balanced"',
            )
        with _errors_of(self):
            class_weights = compute_class_weight(self.class_weight, classes=labels, y=labels)
        return self._weights(class_weights, labels)

    def _score(self, outputs: Any, places: Any, weights: Any) -> float:
        return float(accuracy_score(places, outputs.argmax(axis=1), sample_weight=weights))

    def decision_function(self, X: Any) -> Any:
        """Return the logit of each class; of two classes that of the second less the first."""
        logits = self._outputs(X)
        return logits[:, 1] - logits[:, 0] if len(self.classes_) == 2 else logits

    def predict_proba(self, X: Any) -> Any:
        """Return the probability of each class, in the order of ``classes_``."""
        logits = self._outputs(X)
        shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
        return shifted / shifted.sum(axis=1, keepdims=True)

    def predict_log_proba(self, X: Any) -> Any:
        """Return the logarithm of the probability of each class."""
        logits = self._outputs(X)
        shifted = logits - logits.max(axis=1, keepdims=True)
        return shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))

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
        optimizer, epochs, batch_size, dtype, random_state, warm_start: as ``Classifier``.
        early_stopping, validation_fraction, n_iter_no_change, tol: as ``Classifier``; the score is
            R squared.

    Attributes:
        module_, loss_curve_: the trained Module, the mean loss of each epoch.
        n_iter_, best_loss_, validation_scores_, best_validation_score_: as ``Classifier``.

    >>> from sklearn.datasets import load_diabetes
    >>> x, y = load_diabetes(return_X_y=True)
    >>> network = sg.sklearn.Regressor(epochs=30, random_state=0).fit(x, y / 100)
    >>> bool(network.score(x, y / 100) > 0.4)
    True
    """

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Regressor:
        """Train a module on rows of features and their targets, one or several each.

        ``sample_weight``: the weight of each row in the loss: 2 as the row twice, 0 as without it.
        """
        return self._fit_rows(X, y, sample_weight, is_part=False)

    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None) -> Regressor:
        """Train further, by one epoch over rows, as ``Classifier.partial_fit``."""
        return self._fit_rows(X, y, sample_weight, is_part=True)

    def _fit_rows(self, X: Any, y: Any, sample_weight: Any, is_part: bool) -> Regressor:
        """Train a regressor on rows of numeric targets, one or several each."""
        again = self._goes_on(is_part)
        X, y = _validate_arrays(self, X, y, multi_output=True, y_numeric=True, reset=not again)
        weights = self._weights(sample_weight, X)
        if again and y.shape[1:] != self._shape:
            raise ArgumentError(
                f"Regressor: y has shape {y.shape}, and training goes on from rows of"
                f" {self._shape or 'one target'}"
            )
        self._shape: tuple[int, ...] = y.shape[1:]
        self._is_flat = y.ndim == 1
        targets = y.reshape(len(y), -1).astype(self.dtype)
        self._train(X, targets, weights, targets.shape[1], nn.mse, is_part)
        return self

    def _score(self, outputs: Any, targets: Any, weights: Any) -> float:
        if not np.isfinite(outputs).all():
            return float("nan")
        return float(r2_score(targets, outputs, sample_weight=weights))

    def predict(self, X: Any) -> Any:
        """Return the targets of each row, in the shape that ``fit`` was given."""
        outputs = self._outputs(X).astype("float64")
        return outputs[:, 0] if self._is_flat else outputs

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags


namespace(globals())
