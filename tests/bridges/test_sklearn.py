"""Modules as estimators: scikit-learn's own checks, and what is ours."""

import pickle
import re

import numpy as np
import pytest
import sklearn
from sklearn import config_context
from sklearn.base import clone
from sklearn.datasets import load_iris
from sklearn.metrics import accuracy_score
from sklearn.model_selection import GridSearchCV, cross_validate, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.class_weight import compute_class_weight
from sklearn.utils.estimator_checks import (
    check_sample_weight_equivalence_on_dense_data,
    estimator_checks_generator,
)

import staticgrad as sg
from staticgrad.errors import ArgumentError
from staticgrad.tools.documentation import page
from tests.ops.messages import assert_each_raises

Classifier, Regressor = sg.sklearn.Classifier, sg.sklearn.Regressor
X, Y = load_iris(return_X_y=True)
#: In float64 and of one batch, a row of weight 2 and the row twice differ by rounding alone.
WHOLE = {"dtype": "float64", "batch_size": 10**6, "random_state": 0}


#: The checks that the estimators do not pass, which the page names; below they do in float64.
FAILING = {"check_sample_weight_equivalence_on_dense_data": "float32, and batches of 32 rows"}


def checks():
    """Each check of each estimator, in a list: ``parametrize_with_checks`` of 1.6 has no list."""
    for kind in (Classifier, Regressor):
        yield from estimator_checks_generator(
            kind(random_state=0), expected_failed_checks=FAILING, mark="xfail"
        )


def name_of(part):
    """The name of a check, with what it is called with."""
    return getattr(part, "func", type(part)).__name__


@pytest.mark.thinned(12)
@pytest.mark.parametrize(("estimator", "check"), [*checks()], ids=name_of)
def test_the_estimators_pass_scikit_learns_checks(estimator, check):
    """All of them but ``FAILING``, as ``check_estimator`` runs them."""
    check(estimator)


def test_the_page_names_the_checks_that_the_estimators_do_not_pass():
    (sentence,) = re.findall(r"`check_estimator` passes except[^.]*\.", page("beside"))
    assert {*re.findall(r"`(check_\w+)`", sentence)} == {"check_estimator", *FAILING}


def linear(inputs, outputs):
    return sg.nn.Linear(inputs, outputs)


@pytest.mark.slow
@pytest.mark.parametrize("kind", [Classifier, Regressor])
def test_weights_pass_scikit_learns_check_of_repeated_rows(kind):
    """The check that float32 and its batches do not pass."""
    check_sample_weight_equivalence_on_dense_data(kind.__name__, kind(**WHOLE))


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        (Classifier, {}),
        (Classifier, {"loss": lambda logits, y: sg.nn.cross_entropy(logits, y)}),
        (Classifier, {"class_weight": {0: 3.0, 1: 0.5}}),
        (Classifier, {"class_weight": "balanced"}),
        (Regressor, {}),
        (Regressor, {"loss": sg.nn.l1_loss}),
    ],
)
def test_a_row_of_weight_two_counts_as_the_row_twice_and_of_weight_zero_not_at_all(kind, options):
    weights = np.random.default_rng(0).integers(0, 4, len(X))
    weighted = kind(epochs=3, **WHOLE, **options).fit(X, Y, sample_weight=weights)
    repeated = kind(epochs=3, **WHOLE, **options).fit(
        np.repeat(X, weights, 0), np.repeat(Y, weights)
    )
    np.testing.assert_allclose(weighted.loss_curve_, repeated.loss_curve_, rtol=1e-10)
    for first, second in zip(
        weighted.module_.parameters(), repeated.module_.parameters(), strict=True
    ):
        np.testing.assert_allclose(first.value, second.value, rtol=1e-8, atol=1e-10)
    plain = kind(epochs=3, **WHOLE, **options).fit(X, Y)
    assert abs(plain.loss_curve_[-1] - weighted.loss_curve_[-1]) > 1e-6


def test_the_mean_loss_of_small_batches_has_the_weights_of_all_rows():
    """Each batch has one row, and the learning rate is too small to change a parameter."""
    weights = np.random.default_rng(0).uniform(0.1, 3.0, len(X))
    still = {"optimizer": sg.optim.SGD(1e-300), "epochs": 1, "dtype": "float64", "random_state": 0}
    small = Regressor(batch_size=1, **still).fit(X, Y, weights)
    squares = (small.predict(X) - Y) ** 2
    np.testing.assert_allclose(small.loss_curve_, [np.average(squares, weights=weights)])


def test_equal_weights_are_no_weights():
    plain = Classifier(linear, epochs=2, random_state=0).fit(X, Y)
    equal = Classifier(linear, epochs=2, random_state=0).fit(X, Y, np.full(len(X), 2.0))
    np.testing.assert_array_equal(plain.predict_proba(X), equal.predict_proba(X))
    wrong = np.where(plain.predict(X) == Y, 1.0, 0.0)
    assert plain.score(X, Y, sample_weight=wrong) == 1.0


def test_weights_of_classes_are_those_of_scikit_learn():
    rows = np.r_[0:50, 50:70, 100:103]
    x, y = X[rows], np.array(["a", "b", "c"])[Y[rows]]
    by_class = compute_class_weight("balanced", classes=np.unique(y), y=y)
    weights = np.random.default_rng(0).uniform(1.0, 2.0, len(x))
    for class_weight, sample_weight, row_weights in (
        ("balanced", None, by_class[np.searchsorted(["a", "b", "c"], y)]),
        ({"a": 2.0, "c": 0.25}, weights, weights * np.select([y == "a", y == "c"], [2.0, 0.25], 1)),
    ):
        weighted = Classifier(linear, epochs=3, class_weight=class_weight, random_state=0)
        reference = Classifier(linear, epochs=3, random_state=0).fit(x, y, row_weights)
        np.testing.assert_allclose(
            weighted.fit(x, y, sample_weight).predict_proba(x),
            reference.predict_proba(x),
            rtol=1e-5,
        )


@pytest.mark.parametrize("weighted", [False, True])
def test_partial_fit_of_all_rows_is_an_epoch_of_fit(weighted):
    """Bitwise, with the state of Adam, also through a pickle and a copy in between."""
    weights = np.linspace(1.0, 2.0, len(X)) if weighted else None
    fitted = Classifier(linear, epochs=3, random_state=0).fit(X, Y, weights)
    parts = Classifier(linear, random_state=0).partial_fit(X, Y, [0, 1, 2], weights)
    parts = pickle.loads(pickle.dumps(parts)).partial_fit(X, Y, sample_weight=weights)
    parts.partial_fit(X, Y, classes=[0, 1, 2], sample_weight=weights)
    np.testing.assert_array_equal(parts.predict_proba(X), fitted.predict_proba(X))
    assert (parts.loss_curve_, parts.n_iter_) == (fitted.loss_curve_, 3)


def test_partial_fit_takes_rows_of_some_classes():
    parts = (
        Regressor(linear, random_state=0)
        .partial_fit(X[:50], Y[:50])
        .partial_fit(X, Y, np.ones(150))
    )
    assert parts.n_iter_ == 2
    parts = Classifier(linear, random_state=0).partial_fit(X[:60], Y[:60], classes=[2, 1, 0])
    assert parts.predict_proba(X).shape == (150, 3)
    assert [*parts.partial_fit(X[60:], Y[60:]).classes_] == [0, 1, 2]


def test_warm_start_goes_on_from_the_parameters():
    cold = Classifier(linear, epochs=2, random_state=0)
    assert cold.fit(X, Y).fit(X, Y).n_iter_ == 2
    warm = Classifier(linear, epochs=2, random_state=0, warm_start=True).fit(X, Y)
    old_losses, module = warm.loss_curve_, warm.module_
    assert old_losses == cold.loss_curve_
    warm.set_params(epochs=3).fit(X, Y)
    assert (warm.n_iter_, warm.loss_curve_[:2], warm.module_) == (5, old_losses, module)
    assert warm.loss_curve_[2] < old_losses[0]
    assert not hasattr(clone(warm), "module_")


@pytest.mark.parametrize("weighted", [False, True])
def test_early_stopping_scores_held_out_rows_and_restores_the_best(weighted):
    """Beside scikit-learn's own split of the rows, and the rule in a loop of its own."""
    weights = np.random.default_rng(3).uniform(0.5, 2.0, len(X))
    mixed = np.random.default_rng(0).permutation(Y)  # nothing to learn: scores go up and down
    options = {"early_stopping": True, "validation_fraction": 0.2, "tol": 0.01, "epochs": 60}
    unruly = Classifier(linear, random_state=0, n_iter_no_change=4, **options)
    unruly.fit(X, mixed, weights if weighted else None)
    random = np.random.RandomState(0)
    random.randint(2**31 - 1, size=2)  # the seeds of the module and of the batches
    _, rows, _, labels, _, held_weights = train_test_split(
        X, mixed, weights, test_size=0.2, random_state=random, stratify=mixed
    )
    scores, best, without = unruly.validation_scores_, -np.inf, 0
    for number, score in enumerate(scores, 1):
        without = without + 1 if score < best + 0.01 else 0
        best = max(best, score)
        assert (without == 4) == (number == len(scores))
    assert (unruly.n_iter_, unruly.best_validation_score_) == (len(scores), max(scores))
    assert unruly.best_loss_ is None
    restored = accuracy_score(
        labels, unruly.predict(rows), sample_weight=held_weights if weighted else None
    )
    assert restored == max(scores) > scores[-1]


def test_the_decision_function_and_logarithms_are_of_the_probabilities():
    many = Classifier(linear, epochs=2, random_state=0).fit(X, Y)
    logits, proba = many.decision_function(X), many.predict_proba(X)
    odds = np.exp(logits - logits[:, :1])
    np.testing.assert_allclose(odds / odds.sum(1, keepdims=True), proba, rtol=1e-5)
    np.testing.assert_allclose(np.exp(many.predict_log_proba(X)), proba, rtol=1e-5)
    binary = Classifier(linear, epochs=2, random_state=0).fit(X, Y == 1)
    margin = binary.decision_function(X)
    np.testing.assert_allclose(1 / (1 + np.exp(-margin)), binary.predict_proba(X)[:, 1], rtol=1e-5)
    np.testing.assert_array_equal(margin > 0, binary.predict(X))


@pytest.mark.slow
def test_weights_are_routed_as_metadata():
    weights = np.random.default_rng(0).integers(1, 3, len(X))
    with config_context(enable_metadata_routing=True):
        estimator = Classifier(linear, epochs=2, random_state=0)
        estimator.set_fit_request(sample_weight=True).set_score_request(sample_weight=True)
        scaler = StandardScaler().set_fit_request(sample_weight=False)
        # Before 1.8 pipelines refuse weights, those of scikit-learn's own estimators, too.
        routes = tuple(int(part) for part in sklearn.__version__.split(".")[:2]) >= (1, 8)
        model = make_pipeline(scaler, estimator) if routes else estimator
        actual = cross_validate(model, X, Y, cv=2, params={"sample_weight": weights})
        assert actual["test_score"].shape == (2,)
        with pytest.raises(TypeError, match=r"[Uu]nexpected"):
            estimator.set_fit_request(weights=True)


def test_names_of_columns_are_those_of_pandas():
    frame = pytest.importorskip("pandas").DataFrame(X, columns=["a", "b", "c", "d"])
    fitted = Classifier(linear, epochs=1, random_state=0).fit(frame, Y).partial_fit(frame, Y)
    assert [*fitted.feature_names_in_] == ["a", "b", "c", "d"]
    with pytest.raises(ArgumentError, match="feature names"):
        fitted.predict(frame[["b", "a", "c", "d"]])


def test_what_is_refused():
    fitted = Classifier(linear, epochs=1, random_state=0, warm_start=True).fit(X, Y)
    stopping = {"early_stopping": True, "random_state": 0}
    assert_each_raises(
        (ArgumentError, "sample_weight has .*-1.0", lambda: Classifier().fit(X, Y, -np.ones(150))),
        (ArgumentError, "sample_weight is zero", lambda: Regressor().fit(X, Y, np.zeros(150))),
        (ArgumentError, "sample_weight.shape", lambda: Classifier().fit(X, Y, np.ones(3))),
        (ArgumentError, "classes must be passed", lambda: Classifier().partial_fit(X, Y)),
        (ArgumentError, "y has .*2", lambda: Classifier().partial_fit(X, Y, [0, 1])),
        (ArgumentError, "classes are .*, and were", lambda: fitted.partial_fit(X, Y, [0, 1, 2, 3])),
        (ArgumentError, "no early stopping of one epoch",
         lambda: Classifier(early_stopping=True).partial_fit(X, Y, [0, 1, 2])),
        (ArgumentError, "needs all rows",
         lambda: Classifier(class_weight="balanced").partial_fit(X, Y, [0, 1, 2])),
        (ArgumentError, "class_weight is 'even'",
         lambda: Classifier(class_weight="even").fit(X, Y)),
        (ArgumentError, "not in class_weight",
         lambda: Classifier(class_weight={0: 1.0, 7: 2.0}).fit(X, Y)),
        (ArgumentError, "warm_start with classes", lambda: fitted.fit(X[:100], Y[:100])),
        (ArgumentError, "features", lambda: fitted.fit(X[:, :2], Y)),
        (ArgumentError, "one target",
         lambda: Regressor(epochs=1).partial_fit(X, Y).partial_fit(X, X)),
        (ArgumentError, "validation_fraction=1.5",
         lambda: Classifier(validation_fraction=1.5, **stopping).fit(X, Y)),
        (ArgumentError, "n_iter_no_change=0",
         lambda: Classifier(n_iter_no_change=0, **stopping).fit(X, Y)),
        (ArgumentError, "tol=-1", lambda: Regressor(tol=-1, **stopping).fit(X, Y)),
        (ArgumentError, "1 of 5 rows", lambda: Regressor(**stopping).fit(X[:5], Y[:5])),
    )  # fmt: skip


def network(inputs, outputs):
    return sg.nn.Sequential(
        sg.nn.Linear(inputs, 16), sg.nn.BatchNorm1d(16), sg.nn.ReLU(), sg.nn.Linear(16, outputs)
    )


@pytest.mark.slow
def test_a_module_of_ones_own_in_a_pipeline_and_a_search():
    x, y = load_iris(return_X_y=True)
    classifier = sg.sklearn.Classifier(
        network, optimizer=sg.optim.SGD(0.05, momentum=0.9), epochs=8, random_state=0
    )
    pipeline = make_pipeline(StandardScaler(), classifier)
    search = GridSearchCV(pipeline, {"classifier__batch_size": [16, 64]}, cv=2)
    actual = search.fit(x, np.array(["a", "b", "c"])[y])
    assert actual.best_score_ > 0.85
    fitted = actual.best_estimator_[-1]
    assert [*fitted.classes_] == ["a", "b", "c"]
    assert fitted.loss_curve_[-1] < fitted.loss_curve_[0]
    again = pickle.loads(pickle.dumps(fitted))
    np.testing.assert_array_equal(again.predict_proba(x), fitted.predict_proba(x))


def test_the_same_seed_gives_the_same_network_and_leaves_ours():
    x, y = load_iris(return_X_y=True)
    sg.nn.manual_seed(5)
    expected = sg.nn.Linear(2, 2).weight.value
    sg.nn.manual_seed(5)
    fitted = [sg.sklearn.Classifier(epochs=2, random_state=3).fit(x, y) for _ in range(2)]
    np.testing.assert_array_equal(*[model.predict_proba(x) for model in fitted])
    np.testing.assert_array_equal(sg.nn.Linear(2, 2).weight.value, expected)


def test_a_module_is_copied_and_trained_further():
    random = np.random.default_rng(0)
    x = random.normal(size=(64, 3))
    y = x @ [1.0, 2.0, 3.0]
    module = sg.nn.Linear(3, 1)
    old_weight = module.weight.value
    options = {"optimizer": sg.optim.Adam(0.1), "epochs": 40, "random_state": 0}
    first = sg.sklearn.Regressor(module, **options).fit(x, y)
    assert first.score(x, y) > 0.99
    np.testing.assert_array_equal(module.weight.value, old_weight)
    further = sg.sklearn.Regressor(first.module_, **options).fit(x, y)
    assert further.loss_curve_[0] < first.loss_curve_[0]


def test_another_loss_and_a_wrong_module():
    x, y = load_iris(return_X_y=True)
    absolute = sg.sklearn.Regressor(loss=sg.nn.l1_loss, epochs=20, random_state=0).fit(x, y)
    assert absolute.score(x, y) > 0.8
    with pytest.raises(ArgumentError, match="not a Module"):
        sg.sklearn.Regressor(lambda inputs, outputs: None).fit(x, y)
