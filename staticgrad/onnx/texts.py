"""Texts in a model: they become whole numbers, indices into a table of the model.

A classifier of scikit-learn gives labels as texts, of which there is no element type here. Nodes
that only choose, move or look up texts work on indices as well; nodes that compare or join texts
of two tables do not, and are refused.
"""

from __future__ import annotations

import json
from typing import Any, Final

import numpy as np

from staticgrad.errors import ExportError
from staticgrad.extend.optional import onnx

#: The property of a model that has the tables, by the names of results.
TEXTS: Final = "staticgrad.texts"
#: Classifiers -> their attribute of labels that are whole numbers.
_LABELS: Final = {
    "LinearClassifier": "classlabels_ints",
    "SVMClassifier": "classlabels_ints",
    "TreeEnsembleClassifier": "classlabels_int64s",
}
#: Operators that choose or move elements of their first operand.
_MOVES: Final = frozenset({
    "ArrayFeatureExtractor", "Expand", "Flatten", "Gather", "GatherElements", "Identity", "Reshape",
    "Slice", "Squeeze", "Tile", "Transpose", "Unsqueeze",
})  # fmt: skip
_ENCODE: Final = (
    "encode it first: sklearn.preprocessing.OrdinalEncoder outside of the model, which then takes"
    " whole numbers"
)


def number_texts(proto: Any) -> None:
    """Replace the texts of a model by indices; its property ``TEXTS`` has the tables of results.

    Raises:
        ExportError: an input takes texts, or an operator compares or joins them.
    """
    graph, string = proto.graph, onnx.TensorProto.STRING
    tables: dict[str, tuple[str, ...]] = {}
    for value_info in graph.input:
        if value_info.type.tensor_type.elem_type == string:
            raise ExportError(f"the input {value_info.name!r} takes texts", hint=_ENCODE)
    for initializer in graph.initializer:
        if initializer.data_type == string:
            entries = [text.decode() for text in initializer.string_data]
            table = tuple(dict.fromkeys(entries))
            codes = np.array([table.index(text) for text in entries], np.int64)
            tables[initializer.name] = table
            array = codes.reshape(tuple(initializer.dims))
            initializer.CopyFrom(onnx.numpy_helper.from_array(array, initializer.name))
    for node in graph.node:
        _number_node(node, tables)
    results = {value.name: tables[value.name] for value in graph.output if value.name in tables}
    for value_info in graph.output:
        if value_info.name in results:
            value_info.type.tensor_type.elem_type = onnx.TensorProto.INT64
    if results:
        onnx.helper.set_model_props(
            proto, {p.key: p.value for p in proto.metadata_props} | {TEXTS: json.dumps(results)}
        )


def _number_node(node: Any, tables: dict[str, tuple[str, ...]]) -> None:
    """Replace the texts of a node's attributes, and note the table of its result."""
    texts = {attribute.name: _read_texts(attribute) for attribute in node.attribute}
    source = tables.get(node.input[0]) if node.input else None
    if node.op_type in _LABELS and texts.get("classlabels_strings"):
        labels = texts["classlabels_strings"]
        assert labels is not None
        _replace(node, "classlabels_strings", _LABELS[node.op_type], [*range(len(labels))])
        tables[node.output[0]] = labels
    elif node.op_type == "LabelEncoder":
        _number_encoder(node, texts, source, tables)
    elif node.op_type == "Cast" and (_casts_to_text(node) or source is not None):
        if source is None or not _casts_to_text(node):
            raise ExportError(
                f"node {_name(node)}: numbers and texts are not converted into each other",
                hint="the result in front of it, and NumPy's astype of that",
            )
        node.op_type = "Identity"
        del node.attribute[:]
        tables[node.output[0]] = source
    elif node.op_type in _MOVES and source is not None:
        tables[node.output[0]] = source
    elif texts_read := [name for name in node.input if name in tables]:
        raise ExportError(
            f"node {_name(node)} computes of texts, {texts_read[0]!r}: they are chosen, moved and"
            " looked up",
            hint=_ENCODE,
        )


def _number_encoder(
    node: Any,
    texts: dict[str, tuple[str, ...] | None],
    source: tuple[str, ...] | None,
    tables: dict[str, tuple[str, ...]],
) -> None:
    """Replace texts of a LabelEncoder: those that it looks up, and those that it gives."""
    keys_name = "keys_strings" if texts.get("keys_strings") else "keys_tensor"
    keys = texts.get(keys_name)
    if keys is not None and source is not None:
        # A key that no text of the table is has an index that no element has.
        codes = [
            source.index(key) if key in source else len(source) + k for k, key in enumerate(keys)
        ]
        _replace(node, keys_name, "keys_int64s", codes)
    values_name = "values_strings" if texts.get("values_strings") else "values_tensor"
    values = texts.get(values_name)
    if values is None:
        return
    default = (texts.get("default_string") or texts.get("default_tensor") or ("",))[0]
    table = tuple(dict.fromkeys((*values, default)))
    _replace(node, values_name, "values_int64s", [table.index(value) for value in values])
    _replace(node, "default_string", "default_int64", table.index(default))
    _replace(node, "default_tensor", "", None)
    tables[node.output[0]] = table


def _read_texts(attribute: Any) -> tuple[str, ...] | None:
    """Return the texts of an attribute, None if it has none."""
    if attribute.strings:
        return tuple(text.decode() for text in attribute.strings)
    if attribute.type == onnx.AttributeProto.STRING and attribute.name == "default_string":
        return (attribute.s.decode(),)
    is_tensor = attribute.type == onnx.AttributeProto.TENSOR
    if is_tensor and attribute.t.data_type == onnx.TensorProto.STRING:
        return tuple(text.decode() for text in attribute.t.string_data)
    return None


def _replace(node: Any, name: str, new_name: str, value: Any) -> None:
    """Replace an attribute, or remove it."""
    attributes = [
        attribute for attribute in node.attribute if attribute.name not in (name, new_name)
    ]
    if new_name:
        attributes.append(onnx.helper.make_attribute(new_name, value))
    del node.attribute[:]
    node.attribute.extend(attributes)


def _casts_to_text(node: Any) -> bool:
    return any(
        attribute.name == "to" and attribute.i == onnx.TensorProto.STRING
        for attribute in node.attribute
    )


def _name(node: Any) -> str:
    return f"{node.name or node.output[0]!r}, {node.op_type}"


def read_tables(proto: Any) -> dict[str, tuple[str, ...]]:
    """Return the tables of texts by the names of results."""
    for entry in proto.metadata_props:
        if entry.key == TEXTS:
            return {name: tuple(table) for name, table in json.loads(entry.value).items()}
    return {}
