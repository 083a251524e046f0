"""The names that an extension imports: of ops, functions, layers, optimizers, readers of files.

Users write ``sg``. A package that adds to it also imports the names below. The parts of staticgrad
above its core (``linalg``, ``nn``, ``optim``, ``stats``, bridges to other libraries) import these
names alone, too: contracts in ``pyproject.toml`` check it.

>>> import numpy as np
>>> import staticgrad as sg
>>> from staticgrad.extend import Floating
>>> class Bump(Floating, name="extend.bump"):
...     "Compute 1 / (1 + x * x)."
...
...     def reference(self, x):
...         return 1 / (x * x + 1)
...
...     def scalar(self, x):
...         return 1.0 / (x * x + 1.0)
...
...     def partials(self, out, x):
...         return (-2.0 * x * out * out,)
>>> x = sg.input("x", (2,), "float64")
>>> sg.compile(sg.grad(Bump()(x).sum(), x)).run({"x": np.array([0.0, 1.0])})
array([-0. , -0.5])

Further names are in modules of their own:

- ``ops``, ``functions``, ``derivatives``: functions of ``sg`` in the form that functions call;
- ``sizes``, ``dtypes``: arithmetic of named sizes, element types;
- ``trees``: values in dicts, lists, dataclasses and modules;
- ``pages``: pictures and tables of a page; ``optional``: packages that may be missing;
- ``programs``: traced functions, and analyses of graphs.
"""

from staticgrad.language.ir.calls import (
    Argument,
    check_fields,
    computed_at_once,
    namespace,
    public,
    public_form,
)
from staticgrad.language.ir.execution import are_plain, computing_kind, in_graphs, present
from staticgrad.language.ir.graph import BodyOp
from staticgrad.language.ir.kinds import AnyValue, ArrayLike, binding_kind
from staticgrad.language.ir.nodes import (
    Node,
    Session,
    Symbolic,
    ancestors,
    running_session,
    traced_in,
)
from staticgrad.language.ir.op import Array, Constant, Op, ParameterLeaf, op_class, registered_ops
from staticgrad.language.ir.pairs import ComplexParameter, check_real, stored_of
from staticgrad.language.ops.elementwise import Elementwise, Floating, common_dtype, lift_operand
from staticgrad.language.ops.operands import (
    Axes,
    Fraction,
    Integer,
    NonNegativeFloat,
    NonNegativeInt,
    Number,
    OpenFraction,
    PositiveFloat,
    PositiveInt,
    UnitFloat,
    as_value,
    as_values,
    axes_of,
    axis_of,
    check_equal,
    describe_operands,
    distinct_axes,
    dtype_of,
    floating,
    integer,
    is_number,
    known_integer,
    leaf_array,
    non_negative,
    positive,
    promoted_values,
    shape_text,
    size_of,
)
from staticgrad.language.ops.reduce import Reduction
from staticgrad.language.ops.rounding import rounded_once
from staticgrad.language.storage.parameter import ParameterStore, write_all
from staticgrad.language.types.arrays import (
    Shape,
    TensorType,
    array_of,
    broadcast_shapes,
    convert_array,
    is_array_like,
    is_sparse,
    product,
)
from staticgrad.language.types.dim import Dim, Size
from staticgrad.language.types.dtype import DType, as_dtype
from staticgrad.support.building import capture, within
from staticgrad.support.deprecations import adopt_overrides, deprecated_attribute
from staticgrad.support.docstrings import like
from staticgrad.support.errors.calls import check_arguments, raised_inside
from staticgrad.support.errors.hints import no_such_attribute
from staticgrad.support.errors.tracebacks import (
    boundary,
    called_name,
    make_boundaries,
    names_messages,
)
from staticgrad.support.errors.wording import did_you_mean, kind_of, list_names, message, quote
from staticgrad.support.records import NamedTuple, Settings, dataclass
from staticgrad.support.source import Location, Origin, SourceLine

# fmt: off
__all__ = [
    # Values: what operands are and what results become
    "AnyValue", "are_plain", "Array", "ArrayLike", "as_value", "as_values", "binding_kind",
    "check_real", "common_dtype", "ComplexParameter", "computing_kind", "floating", "in_graphs",
    "leaf_array", "lift_operand", "ParameterStore", "present", "promoted_values", "stored_of",
    "write_all",
    # Types, sizes and arrays
    "array_of", "as_dtype", "broadcast_shapes", "convert_array", "Dim", "DType",
    "is_array_like", "is_sparse", "product", "Shape", "Size", "TensorType",
    # Arguments: annotations that read and check them
    "Argument", "Axes", "axes_of", "axis_of", "check_equal", "check_fields", "distinct_axes",
    "dtype_of", "Fraction", "Integer", "integer", "is_number", "known_integer", "non_negative",
    "NonNegativeFloat", "NonNegativeInt", "Number", "OpenFraction", "positive", "PositiveFloat",
    "PositiveInt", "size_of", "UnitFloat",
    # Ops and graphs
    "ancestors", "BodyOp", "capture", "Constant", "Elementwise", "Floating", "Location", "Node",
    "Op", "op_class", "Origin", "ParameterLeaf", "Reduction", "registered_ops",
    "running_session", "Session", "SourceLine", "Symbolic", "traced_in", "within",
    # Public functions and classes
    "adopt_overrides", "boundary", "check_arguments", "computed_at_once", "dataclass",
    "deprecated_attribute", "like", "make_boundaries", "NamedTuple", "names_messages",
    "namespace", "public", "public_form", "rounded_once", "Settings",
    # Messages
    "called_name", "describe_operands", "did_you_mean", "kind_of", "list_names", "message",
    "no_such_attribute", "quote", "raised_inside", "shape_text",
]
# fmt: on

namespace(globals(), None)
