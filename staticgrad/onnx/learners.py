"""Operators of ``ai.onnx.ml``: what models of scikit-learn, XGBoost and LightGBM are made of.

Trees compare features with thresholds, so their results have no gradient by the features; all else
is differentiated. Their numbers are attributes of operators, hence constants. Labels are whole
numbers: those that are texts are numbered by ``texts.py``. A ZipMap gives the array that it is made
of, a column for each label.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, Final, NamedTuple

import numpy as np

import staticgrad.functions as sg
from staticgrad import nn
from staticgrad.bridges.tables import unsupported_variant
from staticgrad.errors import ExportError
from staticgrad.extend import Array
from staticgrad.onnx.operators import operator

#: The domain of these operators.
ML: Final = "ai.onnx.ml"
#: Elements from which on ``SOFTMAX_ZERO`` counts a score as 0.
_ZERO: Final = 1e-7
#: libsvm's bounds of probabilities of pairs, and of the steps of their coupling.
_LEAST, _STEPS, _NEAR = 1e-7, 100, 0.005


# -- labels and scores ----------------------------------------------------------------------------


def _as_floats(x: Any) -> Any:
    return x if x.dtype in ("float32", "float64") else sg.astype(x, "float32")


def _transform(scores: Any, name: str) -> Any:
    """Apply ONNX's ``post_transform`` to the scores of each row."""
    if name == "NONE":
        return scores
    if name == "LOGISTIC":
        return nn.sigmoid(scores)
    if name == "SOFTMAX":
        return nn.softmax(scores, -1)
    if name == "SOFTMAX_ZERO":
        largest = sg.max(scores, -1, keepdims=True)
        is_zero = abs(scores) <= _ZERO
        parts = sg.where(is_zero, scores * sg.exp(-largest), sg.exp(scores - largest))
        total = sg.sum(parts, -1, keepdims=True)
        return sg.where(total == 0, 0.5, parts / sg.where(total == 0, 1.0, total))
    raise unsupported_variant(f"post_transform={name!r}")


def _read_labels(integers: Sequence[int] | None, texts: Sequence[str] | None) -> Array:
    """Return the labels of classes as integers: ``texts.py`` has numbered those that are texts."""
    if integers:
        return np.asarray(integers, np.int64)
    raise unsupported_variant(f"a classifier without labels, {len(texts or ())} texts")


def _pick_label(scores: Any, labels: Array) -> Any:
    return sg.take(sg.constant(labels), sg.argmax(scores, -1))


# -- preparation ----------------------------------------------------------------------------------


@operator(f"{ML}.ArrayFeatureExtractor")
def _extract(x: Any, indices: Any) -> Any:
    places = np.asarray(indices).ravel() if isinstance(indices, np.ndarray) else indices
    columns = sg.take(x, places, -1)
    return sg.reshape(columns, (1, -1)) if x.ndim == 1 else columns


@operator(f"{ML}.Binarizer")
def _binarize(x: Any, *, threshold: float = 0.0) -> Any:
    return sg.astype(x > threshold, x.dtype)


@operator(f"{ML}.FeatureVectorizer")
def _join_features(*values: Any, inputdimensions: Any = None) -> Any:
    return sg.concatenate([sg.astype(value, "float32") for value in values], 1)


@operator(f"{ML}.Imputer")
def _impute(
    x: Any, *, imputed_value_floats: Any = None, imputed_value_int64s: Any = None,
    replaced_value_float: float = 0.0, replaced_value_int64: int = 0,
) -> Any:  # fmt: skip
    is_float = bool(imputed_value_floats)
    values = imputed_value_floats if is_float else imputed_value_int64s
    replaced = replaced_value_float if is_float else replaced_value_int64
    is_missing = sg.isnan(x) if np.isnan(replaced) else x == replaced
    return sg.where(is_missing, sg.constant(np.asarray(values, x.dtype.name)), x)


@operator(f"{ML}.LabelEncoder")
def _encode(
    x: Any, *, keys_int64s: Any = None, keys_floats: Any = None, keys_strings: Any = None,
    keys_tensor: Any = None, values_int64s: Any = None, values_floats: Any = None,
    values_strings: Any = None, values_tensor: Any = None, default_int64: int = -1,
    default_float: float = -0.0, default_string: str = "", default_tensor: Any = None,
) -> Any:  # fmt: skip
    """Look up numbers: ``default_...`` of those that are no key."""
    if keys_strings or values_strings:
        raise unsupported_variant("LabelEncoder of texts")
    keys = np.asarray(keys_int64s or keys_floats or keys_tensor)
    if values_tensor is not None:
        values, default = values_tensor, np.asarray(default_tensor).item()
    elif values_floats:
        values, default = np.asarray(values_floats, np.float32), default_float
    else:
        values, default = np.asarray(values_int64s, np.int64), default_int64
    equal = sg.expand_dims(x, -1) == sg.constant(keys.astype(x.dtype.name))
    if np.isnan(keys.astype(float)).any():
        equal = equal | (sg.expand_dims(sg.isnan(x), -1) & np.isnan(keys))
    looked_up = sg.take(sg.constant(np.asarray(values)), sg.argmax(equal, -1))
    return sg.where(sg.any(equal, -1), looked_up, sg.constant(np.asarray(default, values.dtype)))


@operator(f"{ML}.Normalizer")
def _normalize(x: Any, *, norm: str = "MAX") -> Any:
    size = abs(x)
    if norm == "L2":
        length = sg.sqrt(sg.sum(size * size, -1, keepdims=True))
    else:
        length = (sg.max if norm == "MAX" else sg.sum)(size, -1, keepdims=True)
    return x / sg.maximum(length, 1e-30)


@operator(f"{ML}.OneHotEncoder")
def _one_hot(x: Any, *, cats_int64s: Any = None, cats_strings: Any = None, zeros: int = 1) -> Any:
    if not cats_int64s:
        raise unsupported_variant("OneHotEncoder of texts")
    categories = np.asarray(cats_int64s).astype(x.dtype.name)
    return sg.astype(sg.expand_dims(x, -1) == sg.constant(categories), "float32")


@operator(f"{ML}.Scaler")
def _scale(x: Any, *, offset: Any = 0.0, scale: Any = 1.0) -> Any:
    x = _as_floats(x)
    return (x - np.asarray(offset, x.dtype.name)) * np.asarray(scale, x.dtype.name)


@operator(f"{ML}.ZipMap")
def _zip_map(x: Any, *, classlabels_int64s: Any = None, classlabels_strings: Any = None) -> Any:
    return x


# -- linear models --------------------------------------------------------------------------------


def _linear(x: Any, coefficients: Any, intercepts: Any, rows: int) -> Any:
    read = np.asarray(coefficients, x.dtype.name)[: rows * x.shape[-1]]  # files may have more
    weights = read.reshape(rows, -1)
    product = x @ np.ascontiguousarray(weights.T)
    return product + np.asarray(intercepts, x.dtype.name) if intercepts else product


@operator(f"{ML}.LinearRegressor")
def _regress(
    x: Any, *, coefficients: Any, intercepts: Any = None, targets: int = 1,
    post_transform: str = "NONE",
) -> Any:  # fmt: skip
    return _transform(_linear(_as_floats(x), coefficients, intercepts, targets), post_transform)


@operator(f"{ML}.LinearClassifier")
def _classify(
    x: Any, *, coefficients: Any, intercepts: Any = None, classlabels_ints: Any = None,
    classlabels_strings: Any = None, multi_class: int = 0, post_transform: str = "NONE",
) -> Any:  # fmt: skip
    """Return labels and scores: of two labels and one row of weights, those of both signs."""
    x, labels = _as_floats(x), _read_labels(classlabels_ints, classlabels_strings)
    rows = len(intercepts or ()) or len(coefficients) // x.shape[-1]
    scores = _linear(x, coefficients, intercepts, rows)
    if rows == 1 and labels.size == 2:
        scores = sg.concatenate([-scores, scores], -1)
    scores = _transform(scores, post_transform)
    if scores.shape[-1] > 1:
        return _pick_label(scores, labels), scores
    is_first = scores[:, 0] >= (0.0 if post_transform == "NONE" else 0.5)
    return sg.where(is_first, int(labels[0]), 0), scores


# -- support vectors ------------------------------------------------------------------------------


def _kernel(x: Any, vectors: Array, kind: str, numbers: Any) -> Any:
    """Return the kernel of each row of x and each support vector."""
    gamma, constant, degree = numbers or (0.0, 0.0, 0.0)
    vectors = vectors.astype(x.dtype.name)
    product = x @ np.ascontiguousarray(vectors.T)
    if kind == "LINEAR":
        return product
    if kind == "RBF":
        difference = sg.expand_dims(x, 1) - vectors
        return sg.exp(-gamma * sg.sum(difference * difference, -1))
    if kind == "POLY":
        return (product * gamma + constant) ** int(degree)
    if kind == "SIGMOID":
        return sg.tanh(product * gamma + constant)
    raise unsupported_variant(f"kernel_type={kind!r}")


@operator(f"{ML}.SVMRegressor")
def _svm_regress(
    x: Any, *, coefficients: Any, kernel_params: Any = None, kernel_type: str = "LINEAR",
    n_supports: int = 0, one_class: int = 0, post_transform: str = "NONE", rho: Any = (0.0,),
    support_vectors: Any = None,
) -> Any:  # fmt: skip
    x = _as_floats(x)
    if n_supports:
        vectors = np.asarray(support_vectors).reshape(n_supports, -1)
        x = _kernel(x, vectors, kernel_type, kernel_params)
    result = _linear(x, coefficients, rho, 1)
    if one_class:
        return sg.where(result > 0, 1.0, -1.0)
    return _transform(result, post_transform)


@operator(f"{ML}.SVMClassifier")
def _svm_classify(
    x: Any, *, coefficients: Any, classlabels_ints: Any = None, classlabels_strings: Any = None,
    kernel_params: Any = None, kernel_type: str = "LINEAR", post_transform: str = "NONE",
    prob_a: Any = None, prob_b: Any = None, rho: Any = (0.0,), support_vectors: Any = None,
    vectors_per_class: Any = None,
) -> Any:  # fmt: skip
    """Return labels and scores: those of pairs of classes, or probabilities coupled of them."""
    x, labels = _as_floats(x), _read_labels(classlabels_ints, classlabels_strings)
    if not vectors_per_class:
        scores = _linear(x, coefficients, rho[:1], labels.size)
        return _pick_label(scores, labels), _transform(scores, post_transform)
    count = sum(vectors_per_class)
    kernels = _kernel(x, np.asarray(support_vectors).reshape(count, -1), kernel_type, kernel_params)
    pairs = [(i, j) for i in range(labels.size) for j in range(i + 1, labels.size)]
    weights, votes_of = _weights_of_pairs(coefficients, vectors_per_class, pairs)
    scores = kernels @ weights.astype(x.dtype.name) + np.asarray(rho, x.dtype.name)
    wins = sg.astype(scores > 0, x.dtype)
    votes = sg.concatenate([wins, 1.0 - wins], -1) @ votes_of.astype(x.dtype.name)
    label = _pick_label(votes, labels)
    if prob_a:
        return label, _couple(scores, prob_a, prob_b, pairs, labels.size)
    if len(pairs) == 1:
        scores = sg.concatenate([-scores, scores], -1)
    return label, _transform(scores, post_transform)


def _weights_of_pairs(
    coefficients: Any, vectors_per_class: Sequence[int], pairs: Sequence[tuple[int, int]]
) -> tuple[Array, Array]:
    """Return a column of weights of all vectors for each pair, and the class that a pair elects."""
    starts = np.concatenate([[0], np.cumsum(vectors_per_class)])
    rows = np.asarray(coefficients).reshape(-1, starts[-1])
    weights = np.zeros((starts[-1], len(pairs)))
    votes = np.zeros((2 * len(pairs), len(vectors_per_class)))
    for k, (i, j) in enumerate(pairs):
        first, second = (slice(starts[c], starts[c + 1]) for c in (i, j))
        weights[first, k], weights[second, k] = rows[j - 1, first], rows[i, second]
        votes[k, i] = votes[len(pairs) + k, j] = 1.0
    return weights, votes


def _couple(
    scores: Any, slopes: Any, offsets: Any, pairs: Sequence[tuple[int, int]], count: int
) -> Any:
    """Return probabilities of classes from those of pairs, as libsvm does (Wu et al., 2004)."""
    dtype = scores.dtype.name
    of_pairs = nn.sigmoid(-(scores * np.asarray(slopes, dtype) + np.asarray(offsets, dtype)))
    of_pairs = sg.clip(of_pairs, _LEAST, 1.0 - _LEAST)
    table: dict[tuple[int, int], Any] = {}
    for k, (i, j) in enumerate(pairs):
        table[i, j], table[j, i] = of_pairs[:, k], 1.0 - of_pairs[:, k]
    classes = range(count)
    q = [
        [
            sum(table[s, t] ** 2 for s in classes if s != t)
            if t == u
            else -table[u, t] * table[t, u]
            for u in classes
        ]
        for t in classes
    ]
    matrix = sg.stack([sg.stack(row, -1) for row in q], -2)

    def improve(_: Any, p: Any) -> Any:
        product = sg.squeeze(matrix @ sg.expand_dims(p, -1), -1)
        total = sg.sum(p * product, -1, keepdims=True)
        is_done = sg.max(abs(product - total), -1, keepdims=True) < _NEAR / count
        better = p
        for t in classes:
            step = (total - product[:, t : t + 1]) / matrix[:, t, t : t + 1]
            unit = np.eye(count, dtype=dtype)[t]
            total = (
                total + step * (step * matrix[:, t, t : t + 1] + 2 * product[:, t : t + 1])
            ) / ((1 + step) ** 2)
            product = (product + step * matrix[:, t]) / (1 + step)
            better = (better + step * unit) / (1 + step)
        return sg.where(is_done, p, better)

    start = sg.zeros_like(matrix[:, 0]) + 1.0 / count
    return sg.fori_loop(0, max(_STEPS, count), improve, start)


# -- trees ----------------------------------------------------------------------------------------

#: A mode of nodes -> what it compares a feature with a threshold by.
_MODES: Final = {
    "BRANCH_LEQ": sg.less_equal, "BRANCH_LT": sg.less, "BRANCH_GTE": sg.greater_equal,
    "BRANCH_GT": sg.greater, "BRANCH_EQ": sg.equal, "BRANCH_NEQ": sg.not_equal,
}  # fmt: skip
_TRANSFORMS: Final = ("NONE", "SOFTMAX", "LOGISTIC", "SOFTMAX_ZERO", "PROBIT")
_AGGREGATES: Final = ("AVERAGE", "SUM", "MIN", "MAX")


class _Forest(NamedTuple):
    """Nodes of trees: leaves are their leaf_places children, and have a row of numbers."""

    roots: Array
    features: Array
    splits: Array
    modes: Sequence[str]
    if_true: Array
    if_false: Array
    missing_is_true: Array

    def find_leaves(self, x: Any) -> Any:
        """Return the leaf of each row of x in each tree."""
        integers = partial(np.asarray, dtype=np.int32)
        features, if_true, if_false = (
            sg.constant(integers(array)) for array in (self.features, self.if_true, self.if_false)
        )
        splits = sg.constant(self.splits.astype(x.dtype.name))
        kinds = sorted({mode for mode in self.modes if mode != "LEAF"})
        if unknown := [kind for kind in kinds if kind not in _MODES]:
            raise unsupported_variant(f"the mode {unknown[0]} of nodes")
        numbers = sg.constant(integers([kinds.index(m) if m in kinds else 0 for m in self.modes]))
        missing = sg.constant(self.missing_is_true.astype(bool))

        def step(_: Any, at: Any) -> Any:
            value = sg.take_along_axis(x, sg.take(features, at), 1)
            split, is_true = sg.take(splits, at), None
            for k, kind in enumerate(kinds):
                compared = _MODES[kind](value, split)
                is_true = (
                    compared if is_true is None
                    else sg.where(sg.take(numbers, at) == k, compared, is_true)
                )  # fmt: skip
            if self.missing_is_true.any():
                is_true = is_true | (sg.isnan(value) & sg.take(missing, at))
            return sg.where(is_true, sg.take(if_true, at), sg.take(if_false, at))

        roots = sg.constant(integers(self.roots))
        at = sg.broadcast_to(roots, (x.shape[0], self.roots.size))
        return sg.fori_loop(0, self.depth, step, at) if self.depth else at

    @property
    def depth(self) -> int:
        """The number of comparisons on the longest way to a leaf."""
        at, depth = np.asarray(self.roots), 0
        while (self.if_true[at] != at).any():
            at, depth = np.unique(np.concatenate([self.if_true[at], self.if_false[at]])), depth + 1
            if depth > self.features.size:
                raise ExportError("nodes of a tree are children of themselves")
        return depth


def _read_forest(
    treeids: Any, nodeids: Any, features: Any, modes: Sequence[str], splits: Any, if_true: Any,
    if_false: Any, missing: Any,
) -> tuple[_Forest, dict[tuple[int, int], int]]:  # fmt: skip
    """Return the nodes of trees that name each other by tree and number, and where each is."""
    places = {pair: k for k, pair in enumerate(zip(treeids, nodeids, strict=True))}
    is_leaf = [mode == "LEAF" for mode in modes]
    children = [
        np.array([
            k if leaf else places[tree, child]
            for k, (tree, child, leaf) in enumerate(zip(treeids, named, is_leaf, strict=True))
        ])
        for named in (if_true, if_false)
    ]  # fmt: skip
    below = {int(c) for side in children for k, c in enumerate(side) if c != k}
    roots = np.array([k for k in range(len(modes)) if k not in below])
    forest = _Forest(
        roots, np.where(is_leaf, 0, features), np.asarray(splits), modes, children[0], children[1],
        np.asarray(missing if missing else np.zeros(len(modes))),
    )  # fmt: skip
    return forest, places


def _aggregate(leaves: Any, rows: Array, trees: int, how: str) -> Any:
    """Add up, or choose among, the numbers of the leaves of each row; NaN is no number."""
    if how in ("SUM", "AVERAGE"):
        total = sg.sum(sg.take(sg.constant(np.nan_to_num(rows)), leaves, 0), 1)
        return total / trees if how == "AVERAGE" else total
    limit = np.finfo(rows.dtype).max if how == "MIN" else np.finfo(rows.dtype).min
    filled = sg.constant(np.where(np.isnan(rows), limit, rows))
    return (sg.min if how == "MIN" else sg.max)(sg.take(filled, leaves, 0), 1)


def _run_trees(
    x: Any, trees: tuple[_Forest, dict[tuple[int, int], int]], ids: Any, treeids: Any, nodeids: Any,
    weights: Any, columns: int, how: str = "SUM",
) -> Any:  # fmt: skip
    """Return the aggregated numbers of the leaves, a column for each target or class."""
    forest, places = trees
    rows = np.full((len(places), columns), np.nan, x.dtype.name)
    for column, tree, node, weight in zip(ids, treeids, nodeids, weights, strict=True):
        row = rows[places[tree, node]]
        row[column] = np.nan_to_num(row[column]) + weight
    return _aggregate(forest.find_leaves(x), rows, forest.roots.size, how)


def _add_base(scores: Any, base: Any, as_tensor: Any) -> Any:
    numbers = base if as_tensor is None else as_tensor
    return scores if numbers is None else scores + np.asarray(numbers, scores.dtype.name)


@operator(f"{ML}.TreeEnsembleRegressor")
def _trees_regress(
    x: Any, *, aggregate_function: str = "SUM", base_values: Any = None,
    base_values_as_tensor: Any = None, n_targets: int = 1, nodes_falsenodeids: Any,
    nodes_featureids: Any, nodes_hitrates: Any = None, nodes_hitrates_as_tensor: Any = None,
    nodes_missing_value_tracks_true: Any = None, nodes_modes: Any, nodes_nodeids: Any,
    nodes_treeids: Any, nodes_truenodeids: Any, nodes_values: Any = None,
    nodes_values_as_tensor: Any = None, post_transform: str = "NONE", target_ids: Any,
    target_nodeids: Any, target_treeids: Any, target_weights: Any = None,
    target_weights_as_tensor: Any = None,
) -> Any:  # fmt: skip
    x = _as_floats(x)
    trees = _read_forest(
        nodes_treeids, nodes_nodeids, nodes_featureids, nodes_modes,
        nodes_values if nodes_values_as_tensor is None else nodes_values_as_tensor,
        nodes_truenodeids, nodes_falsenodeids, nodes_missing_value_tracks_true,
    )  # fmt: skip
    weights = target_weights if target_weights_as_tensor is None else target_weights_as_tensor
    result = _run_trees(
        x, trees, target_ids, target_treeids, target_nodeids, weights, n_targets, aggregate_function
    )
    return _transform(_add_base(result, base_values, base_values_as_tensor), post_transform)


@operator(f"{ML}.TreeEnsembleClassifier")
def _trees_classify(
    x: Any, *, base_values: Any = None, base_values_as_tensor: Any = None, class_ids: Any,
    class_nodeids: Any, class_treeids: Any, class_weights: Any = None,
    class_weights_as_tensor: Any = None, classlabels_int64s: Any = None,
    classlabels_strings: Any = None, nodes_falsenodeids: Any, nodes_featureids: Any,
    nodes_hitrates: Any = None, nodes_hitrates_as_tensor: Any = None,
    nodes_missing_value_tracks_true: Any = None, nodes_modes: Any, nodes_nodeids: Any,
    nodes_treeids: Any, nodes_truenodeids: Any, nodes_values: Any = None,
    nodes_values_as_tensor: Any = None, post_transform: str = "NONE",
) -> Any:  # fmt: skip
    """Return labels and scores; where all numbers are of one class, those of two follow."""
    x = _as_floats(x)
    trees = _read_forest(
        nodes_treeids, nodes_nodeids, nodes_featureids, nodes_modes,
        nodes_values if nodes_values_as_tensor is None else nodes_values_as_tensor,
        nodes_truenodeids, nodes_falsenodeids, nodes_missing_value_tracks_true,
    )  # fmt: skip
    labels = _read_labels(classlabels_int64s, classlabels_strings)
    weights = class_weights if class_weights_as_tensor is None else class_weights_as_tensor
    is_binary = len({*class_ids}) == 1 and labels.size <= 2
    ids = [0] * len(class_ids) if is_binary else class_ids
    scores = _run_trees(
        x, trees, ids, class_treeids, class_nodeids, weights, 1 if is_binary else labels.size
    )
    scores = _add_base(scores, base_values, base_values_as_tensor)
    if is_binary:
        negated = 1.0 - scores if post_transform == "NONE" else -scores
        scores = sg.concatenate([negated, scores], -1)
    scores = _transform(scores, post_transform)
    if labels.size == 1:
        labels = np.array([0, labels[0]])
    return _pick_label(scores, labels), scores


@operator(f"{ML}.TreeEnsemble")
def _trees(
    x: Any, *, aggregate_function: int = 1, leaf_targetids: Any, leaf_weights: Any,
    membership_values: Any = None, n_targets: int = 1, nodes_falseleafs: Any,
    nodes_falsenodeids: Any, nodes_featureids: Any, nodes_hitrates: Any = None,
    nodes_missing_value_tracks_true: Any = None, nodes_modes: Any, nodes_splits: Any,
    nodes_trueleafs: Any, nodes_truenodeids: Any, post_transform: int = 0, tree_roots: Any,
) -> Any:  # fmt: skip
    """Return the aggregated numbers of leaves; a node names its children by kind and number."""
    if membership_values is not None:
        raise unsupported_variant("a comparison with a set of values")
    count, leaves = len(nodes_featureids), len(leaf_targetids)
    leaf_places = np.arange(count, count + leaves)
    children = [
        np.concatenate([np.asarray(ids) + count * np.asarray(are_leaves), leaf_places])
        for ids, are_leaves in (
            (nodes_truenodeids, nodes_trueleafs), (nodes_falsenodeids, nodes_falseleafs)
        )
    ]  # fmt: skip
    zeros = np.zeros(leaves, np.int64)
    missing = nodes_missing_value_tracks_true or np.zeros(count, np.int64)
    forest = _Forest(
        np.asarray(tree_roots), np.concatenate([nodes_featureids, zeros]),
        np.concatenate([np.asarray(nodes_splits), zeros]),
        [*([*_MODES][int(mode)] for mode in nodes_modes), *["LEAF"] * leaves],
        children[0], children[1], np.concatenate([missing, zeros]),
    )  # fmt: skip
    rows = np.full((count + leaves, n_targets), np.nan, x.dtype.name)
    rows[leaf_places, leaf_targetids] = leaf_weights
    how = _AGGREGATES[aggregate_function]
    result = _aggregate(forest.find_leaves(x), rows, len(tree_roots), how)
    return _transform(result, _TRANSFORMS[post_transform])
