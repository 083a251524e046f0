"""Modules as estimators: scikit-learn's own checks, and what is ours."""

import pickle

import numpy as np
import pytest
from sklearn.datasets import load_iris
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

import staticgrad as sg
from staticgrad.errors import ArgumentError


@pytest.mark.thinned(12)
@parametrize_with_checks(
    [sg.sklearn.Classifier(random_state=0), sg.sklearn.Regressor(random_state=0)]
)
def test_the_estimators_pass_scikit_learns_checks(estimator, check):
    """All of them, as ``check_estimator`` runs them."""
    check(estimator)


def network(inputs, outputs):
    return sg.nn.Sequential(
        sg.nn.Linear(inputs, 16), sg.nn.BatchNorm1d(16), sg.nn.ReLU(), sg.nn.Linear(16, outputs)
    )


@pytest.mark.slow
def test_a_module_of_ones_own_in_a_pipeline_and_a_search():
    x, y = load_iris(return_X_y=True)
    own = sg.sklearn.Classifier(
        network, optimizer=sg.optim.SGD(0.05, momentum=0.9), epochs=8, random_state=0
    )
    pipeline = make_pipeline(StandardScaler(), own)
    search = GridSearchCV(pipeline, {"classifier__batch_size": [16, 64]}, cv=2)
    found = search.fit(x, np.array(["a", "b", "c"])[y])
    assert found.best_score_ > 0.85
    fitted = found.best_estimator_[-1]
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
    np.testing.assert_array_equal(*[each.predict_proba(x) for each in fitted])
    np.testing.assert_array_equal(sg.nn.Linear(2, 2).weight.value, expected)


def test_a_module_is_copied_and_trained_further():
    random = np.random.default_rng(0)
    x = random.normal(size=(64, 3))
    y = x @ [1.0, 2.0, 3.0]
    module = sg.nn.Linear(3, 1)
    before = module.weight.value
    options = {"optimizer": sg.optim.Adam(0.1), "epochs": 40, "random_state": 0}
    first = sg.sklearn.Regressor(module, **options).fit(x, y)
    assert first.score(x, y) > 0.99
    np.testing.assert_array_equal(module.weight.value, before)
    further = sg.sklearn.Regressor(first.module_, **options).fit(x, y)
    assert further.loss_curve_[0] < first.loss_curve_[0]


def test_another_loss_and_a_wrong_module():
    x, y = load_iris(return_X_y=True)
    absolute = sg.sklearn.Regressor(loss=sg.nn.l1_loss, epochs=20, random_state=0).fit(x, y)
    assert absolute.score(x, y) > 0.8
    with pytest.raises(ArgumentError, match="not a Module"):
        sg.sklearn.Regressor(lambda inputs, outputs: None).fit(x, y)
