"""Operators of ``ai.onnx.ml`` beside ONNX's reference evaluator and scikit-learn."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator

import staticgrad as sg
from staticgrad.errors import ExportError, GradientError

ROWS = 9
random = np.random.default_rng(3)
X = random.normal(size=(ROWS, 4)).astype("float32")
WITH_NAN = np.where(random.random(X.shape) < 0.3, np.float32("nan"), X)
INTEGERS = random.integers(0, 4, (ROWS, 4))


def make_model(
    path: Path, operator: str, x: Any, results: int = 1, opset: int = 3, **attributes: Any
) -> None:
    names = [f"y{k}" for k in range(results)]
    node = helper.make_node(operator, ["x"], names, domain="ai.onnx.ml", **attributes)
    kind = helper.np_dtype_to_tensor_dtype(x.dtype)
    graph = helper.make_graph(
        [node], "model", [helper.make_tensor_value_info("x", kind, ["n", *x.shape[1:]])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in names],
    )  # fmt: skip
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("ai.onnx.ml", opset)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=9), path)


def run_both(path: Path, x: Any) -> list[tuple[Any, Any]]:
    model = sg.onnx.load(path)
    ours = sg.compile(model.graph()).run({"x": x})
    return [*zip(ours.values(), ReferenceEvaluator(str(path)).run(None, {"x": x}), strict=True)]


def grow(classes: int, trees: int = 3, depth: int = 3, modes: str = "BRANCH_LEQ") -> dict[str, Any]:
    """Return the attributes of random trees whose leaves have numbers of some classes."""
    columns: dict[str, list[Any]] = {
        name: [] for name in ("treeids", "nodeids", "featureids", "modes", "values",
                              "truenodeids", "falsenodeids", "missing_value_tracks_true")
    }  # fmt: skip
    ids, of_trees, of_nodes, weights = [], [], [], []
    kinds = modes.split()
    for tree in range(trees):
        inner = 2**depth - 1 - tree  # not all leaves lie at one depth
        for node in range(2 * inner + 1):
            is_leaf = node >= inner
            row = (
                tree, node, 0 if is_leaf else int(random.integers(4)),
                "LEAF" if is_leaf else kinds[node % len(kinds)],
                float(np.round(random.normal(), 1)),
                0 if is_leaf else 2 * node + 1, 0 if is_leaf else 2 * node + 2, node % 2,
            )  # fmt: skip
            for column, value in zip(columns.values(), row, strict=True):
                column.append(value)
            for k in range(classes if is_leaf else 0):
                ids.append(k)
                of_trees.append(tree)
                of_nodes.append(node)
                weights.append(float(random.normal()))
    nodes = {f"nodes_{name}": column for name, column in columns.items()}
    return nodes | {"ids": ids, "treeids": of_trees, "nodeids": of_nodes, "weights": weights}


def name_attributes(kind: str, trees: dict[str, Any]) -> dict[str, Any]:
    return {
        name if name.startswith("nodes_") else f"{kind}_{name}": values
        for name, values in trees.items()
    }


MODES = "BRANCH_LEQ BRANCH_LT BRANCH_GTE BRANCH_GT BRANCH_NEQ BRANCH_EQ"
SVM = {
    "kernel_params": [0.3, 0.1, 3.0], "rho": [0.2],
    "support_vectors": random.normal(size=20).tolist(),
    "coefficients": random.normal(size=5).tolist(),
}  # fmt: skip
PAIRS = {
    "kernel_type": "RBF", "kernel_params": [0.3, 0.0, 0.0], "vectors_per_class": [2, 2, 1],
    "support_vectors": random.normal(size=20).tolist(), "rho": [0.1, -0.2, 0.3],
    "coefficients": random.normal(size=10).tolist(), "classlabels_ints": [3, 5, 9],
}  # fmt: skip
CASES: dict[str, tuple[str, Any, int, dict[str, Any]]] = {
    "scaler": ("Scaler", X, 1, {"offset": [1.0, 2.0, 0.0, 1.0], "scale": [2.0, 1.0, 0.5, 3.0]}),
    **{f"normalizer {n}": ("Normalizer", X, 1, {"norm": n}) for n in ("MAX", "L1", "L2")},
    "imputer": ("Imputer", WITH_NAN, 1, {"imputed_value_floats": [1.0, 2.0, 3.0, 4.0],
                                         "replaced_value_float": float("nan")}),
    "imputer of integers": ("Imputer", INTEGERS, 1, {"imputed_value_int64s": [9],
                                                     "replaced_value_int64": 2}),
    "binarizer": ("Binarizer", X, 1, {"threshold": 0.3}),
    "one hot": ("OneHotEncoder", INTEGERS, 1, {"cats_int64s": [2, 0, 3], "zeros": 1}),
    "encoder": ("LabelEncoder", INTEGERS, 1, {"keys_int64s": [2, 0], "values_floats": [0.5, 1.5],
                                              "default_float": -3.0}),
    "regressor": ("LinearRegressor", X, 1, {"coefficients": random.normal(size=8).tolist(),
                                            "intercepts": [1.0, 2.0], "targets": 2}),
    **{f"classifier {post}": ("LinearClassifier", X, 2, {
        "coefficients": random.normal(size=12).tolist(), "intercepts": [0.1, 0.2, 0.3],
        "post_transform": post, "classlabels_ints": [3, 5, 9]})
       for post in ("NONE", "LOGISTIC", "SOFTMAX", "SOFTMAX_ZERO")},
    "classifier of two": ("LinearClassifier", X, 2, {
        "coefficients": [0.5, -1.0, 2.0, 0.3], "intercepts": [0.1], "post_transform": "LOGISTIC",
        "classlabels_ints": [4, 7]}),
    **{f"svm {kind}": ("SVMRegressor", X, 1, {**SVM, "kernel_type": kind, "n_supports": 5})
       for kind in ("LINEAR", "RBF", "POLY", "SIGMOID")},
    "one class": ("SVMRegressor", X, 1, {**SVM, "kernel_type": "RBF", "n_supports": 5,
                                         "one_class": 1}),
    "linear svm": ("SVMRegressor", X, 1, {"coefficients": [0.5, -1.0, 2.0, 0.3], "rho": [0.2],
                                          "kernel_type": "LINEAR"}),
    "pairs": ("SVMClassifier", X, 2, PAIRS),
    **{f"trees {how}": ("TreeEnsembleRegressor", WITH_NAN, 1, {
        **name_attributes("target", grow(2)), "n_targets": 2, "aggregate_function": how,
        "base_values": [0.5, -1.0]}) for how in ("SUM", "AVERAGE", "MIN", "MAX")},
    "trees of all modes": ("TreeEnsembleRegressor", np.round(WITH_NAN, 1), 1, {
        **name_attributes("target", grow(1, 5, 4, MODES)), "n_targets": 1}),
    **{f"trees of classes {post}": ("TreeEnsembleClassifier", X, 2, {
        **name_attributes("class", grow(3)), "classlabels_int64s": [3, 5, 9],
        "post_transform": post})
       for post in ("NONE", "LOGISTIC", "SOFTMAX")},
    "trees of two classes": ("TreeEnsembleClassifier", X, 2, {
        **name_attributes("class", grow(1)), "classlabels_int64s": [0, 1],
        "post_transform": "LOGISTIC"}),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_an_operator_beside_the_reference(case: str, tmp_path: Path) -> None:
    operator, x, results, attributes = CASES[case]
    make_model(tmp_path / "m.onnx", operator, x, results, **attributes)
    for actual, expected in run_both(tmp_path / "m.onnx", x):
        np.testing.assert_allclose(
            actual, np.asarray(expected).reshape(actual.shape), rtol=2e-5, atol=2e-6
        )


def test_coefficients_behind_those_of_the_classes_are_not_read(tmp_path: Path) -> None:
    """Some converters write more, as in the model of iris that comes with onnxruntime."""
    numbers = np.random.default_rng(5).normal(size=17).astype("float32")
    make_model(
        tmp_path / "m.onnx", "LinearClassifier", X, 2, coefficients=numbers.tolist(),
        intercepts=[0.1, 0.2, 0.3], classlabels_ints=[3, 5, 9],
    )  # fmt: skip
    label, scores = sg.onnx.load(tmp_path / "m.onnx")(X)
    expected = X @ numbers[:12].reshape(3, 4).T + np.array([0.1, 0.2, 0.3], "float32")
    np.testing.assert_allclose(scores, expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(label, np.array([3, 5, 9])[expected.argmax(1)])


@pytest.mark.parametrize("how", range(4))
def test_trees_of_the_newest_operator(how: int, tmp_path: Path) -> None:
    """The root of the second tree is a leaf; modes and thresholds are tensors."""
    attributes = {
        "n_targets": 2, "aggregate_function": how, "post_transform": 0, "tree_roots": [0, 3],
        "nodes_featureids": [0, 2, 1, 0], "nodes_truenodeids": [1, 0, 2, 3],
        "nodes_falsenodeids": [2, 1, 4, 3], "nodes_trueleafs": [0, 1, 1, 1],
        "nodes_falseleafs": [0, 1, 1, 1], "leaf_targetids": [0, 1, 0, 1, 1, 0],
        "nodes_modes": onnx.numpy_helper.from_array(np.array([0, 1, 3, 0], np.uint8)),
        "nodes_splits": onnx.numpy_helper.from_array(np.array([0.1, -0.4, 0.6, 0], np.float32)),
        "leaf_weights": onnx.numpy_helper.from_array(np.arange(1, 7).astype("float32")),
    }  # fmt: skip
    make_model(tmp_path / "m.onnx", "TreeEnsemble", X, opset=5, **attributes)
    ((actual, expected),) = run_both(tmp_path / "m.onnx", X)
    np.testing.assert_allclose(actual, expected, rtol=1e-6)


@pytest.mark.parametrize("classes", [2, 3])
def test_probabilities_of_pairs_are_coupled_as_libsvm_does(classes: int, tmp_path: Path) -> None:
    """The reference evaluator keeps numbers of the row before, so the oracle is scikit-learn."""
    svm = pytest.importorskip("sklearn.svm")
    y = np.argsort(np.argsort(X[:, 0] + X[:, 1] ** 2)) % classes
    x, y = np.concatenate([X] * 4), np.concatenate([y] * 4)
    model = svm.SVC(gamma=0.4, random_state=0, probability=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # probability is deprecated
        model.fit(x, y)
        pairs = model.probA_.tolist(), model.probB_.tolist()
    sign = -1.0 if classes == 2 else 1.0  # scikit-learn turns the signs of two classes
    make_model(
        tmp_path / "m.onnx", "SVMClassifier", x, 2, kernel_type="RBF",
        kernel_params=[0.4, 0.0, 3.0], coefficients=(sign * model.dual_coef_).ravel().tolist(),
        support_vectors=model.support_vectors_.ravel().tolist(),
        vectors_per_class=model.n_support_.tolist(), rho=(sign * model.intercept_).tolist(),
        prob_a=pairs[0], prob_b=pairs[1],
        classlabels_ints=[*range(classes)],
    )  # fmt: skip
    labels, scores = sg.compile(sg.onnx.load(tmp_path / "m.onnx").graph()).run({"x": x}).values()
    np.testing.assert_array_equal(labels, model.predict(x))
    np.testing.assert_allclose(scores, model.predict_proba(x), atol=3e-5)


def test_gradients_by_features(tmp_path: Path) -> None:
    """Kernels have them; trees have none, and grad says so."""
    operator, _, _, attributes = CASES["svm RBF"]
    make_model(tmp_path / "m.onnx", operator, X, **attributes)
    model = sg.onnx.load(tmp_path / "m.onnx")
    slope = sg.function(sg.grad(lambda x: model(x).sum()))(X)
    step = np.zeros_like(X)
    step[2, 1] = 1e-2
    near = [ReferenceEvaluator(str(tmp_path / "m.onnx")).run(None, {"x": X + s})[0].sum()
            for s in (step, -step)]  # fmt: skip
    assert slope[2, 1] == pytest.approx((near[0] - near[1]) / 2e-2, rel=2e-2)
    operator, _, _, attributes = CASES["trees SUM"]
    make_model(tmp_path / "t.onnx", operator, X, **attributes)
    trees = sg.onnx.load(tmp_path / "t.onnx")
    with pytest.raises(GradientError, match="loop gives int32, which has no gradient"):
        sg.function(sg.grad(lambda x: trees(x).sum()))(X)


def text_model(
    nodes: list[Any], inputs: dict[str, int], outputs: dict[str, int], *arrays: Any
) -> Any:
    """A model of operators of both domains; element types by name."""
    infos = [
        [helper.make_tensor_value_info(name, kind, None if names is outputs else ["n", 4])
         for name, kind in names.items()]
        for names in (inputs, outputs)
    ]  # fmt: skip
    graph = helper.make_graph(nodes, "texts", *infos, arrays)
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 3)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8)


ML: dict[str, Any] = {"domain": "ai.onnx.ml"}
COLOURS = ["red", "green", "blue"]
CLASSES = helper.make_tensor("classes", TensorProto.STRING, (3,), [b"red", b"green", b"blue"])
LINEAR = {
    "coefficients": random.normal(size=12).astype("float32").tolist(),
    "intercepts": [0.1, -0.2, 0.3],
    "classlabels_strings": COLOURS,
}
#: Nodes whose result "label" is a text.
TEXTS = {
    "classifier": [helper.make_node("LinearClassifier", ["x"], ["label", "p"], **LINEAR, **ML)],
    "chosen of an array": [
        helper.make_node("ArgMax", ["x"], ["k"], axis=1, keepdims=0),
        helper.make_node("Clip", ["k", "", "two"], ["inside"]),
        helper.make_node("Gather", ["classes", "inside"], ["c"]),
        helper.make_node("Cast", ["c"], ["label"], to=TensorProto.STRING),
    ],
    "looked up": [
        helper.make_node("LinearClassifier", ["x"], ["first", "p"], **LINEAR, **ML),
        helper.make_node(
            "LabelEncoder", ["first"], ["label"], keys_strings=["blue", "red", "pink"],
            values_strings=["sea", "fire", "sky"], default_string="grass", **ML,
        ),
    ],
    "looked up by number": [
        helper.make_node("ArgMax", ["x"], ["k"], axis=1, keepdims=0),
        helper.make_node(
            "LabelEncoder", ["k"], ["label"], keys_int64s=[0, 1, 3],
            values_strings=["a", "b", "a"], default_string="-", **ML,
        ),
    ],
}  # fmt: skip


@pytest.mark.parametrize("name", TEXTS)
def test_texts_of_results_are_indices(name: str) -> None:
    types = {"x": TensorProto.FLOAT}, {"label": TensorProto.STRING}
    proto = text_model(
        TEXTS[name], *types, CLASSES, onnx.numpy_helper.from_array(np.array(2), "two")
    )
    with pytest.warns(sg.StaticgradWarning, match=r"'label' .* is a text there, and the index"):
        model = sg.onnx.load(proto)
    (expected,) = ReferenceEvaluator(proto).run(None, {"x": X})
    index = sg.function(model)(X)
    assert np.array(model.texts["label"])[index].tolist() == expected.tolist()
    assert len({*expected.tolist()}) > 1
    with pytest.warns(sg.StaticgradWarning, match="is a text there"):
        assert sg.onnx.load(model.source).texts == model.texts


def test_a_text_that_is_looked_up_gives_a_number() -> None:
    nodes = [
        helper.make_node("LinearClassifier", ["x"], ["first", "p"], **LINEAR, **ML),
        helper.make_node("LabelEncoder", ["first"], ["y"], keys_strings=["blue", "red"],
                         values_int64s=[7, 5], default_int64=-3, **ML),
    ]  # fmt: skip
    proto = text_model(nodes, {"x": TensorProto.FLOAT}, {"y": TensorProto.INT64})
    model = sg.onnx.load(proto)  # no result is a text: no warning
    assert model.texts == {}
    (expected,) = ReferenceEvaluator(proto).run(None, {"x": X})
    assert sg.function(model)(X).tolist() == expected.tolist()


@pytest.mark.parametrize(
    ("node", "words"),
    [
        (("Identity", ["t"], ["y"], {}), "the input 't' takes texts"),
        (("Equal", ["classes", "classes"], ["y"], {}), "computes of texts, 'classes'"),
        (("Cast", ["x"], ["y"], {"to": TensorProto.STRING}), "numbers and texts"),
        (("Cast", ["classes"], ["y"], {"to": TensorProto.FLOAT}), "numbers and texts"),
    ],
)
def test_texts_that_are_computed_with_are_refused(node: Any, words: str) -> None:
    operator, names, results, attributes = node
    kind = TensorProto.STRING if "t" in names else TensorProto.FLOAT
    nodes = [helper.make_node(operator, names, results, **attributes)]
    inputs = {"t" if "t" in names else "x": kind}
    proto = text_model(nodes, inputs, {"y": TensorProto.STRING}, CLASSES)
    with pytest.raises(ExportError, match=words):
        sg.onnx.load(proto)


def test_what_is_refused_says_why(tmp_path: Path) -> None:
    coefficients = [0.5, -1.0, 2.0, 0.3]
    make_model(tmp_path / "p.onnx", "LinearRegressor", X, coefficients=coefficients,
               post_transform="PROBIT")  # fmt: skip
    with pytest.raises(ExportError, match="post_transform='PROBIT'"):
        sg.onnx.load(tmp_path / "p.onnx").graph()
