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

- ``ops``, ``functions``, ``windows``, ``loops``, ``derivatives``: functions of ``sg``, in the form
  that functions call;
- ``sizes``, ``dtypes``, ``parameters``: arithmetic of named sizes, element types, stored arrays;
- ``trees``: values in dicts, lists, dataclasses and modules;
- ``building``: traces, and the user's line; ``gradients``, ``linear_systems``: differentiation of
  values; ``tensors``, ``tapes``: eager mode;
- ``programs``, ``reports``, ``entries``: traced functions; analyses of graphs, plans and compiled
  programs; their machine code for foreign callers;
- ``distributions``: bases of distributions;
- ``hints``, ``pages``: errors of unknown names; tables and charts of a page;
- ``optional``, ``ranks``: packages that may be missing; several processes.
"""

from staticgrad.errors.calls import (
    check_arguments,
    check_call,
    check_takes_nothing,
    raised_inside,
)
from staticgrad.errors.tracebacks import (
    boundary,
    called_name,
    cut_frames,
    make_boundaries,
    names_messages,
)
from staticgrad.errors.wording import (
    did_you_mean,
    kind_of,
    list_names,
    message,
    quote,
    warn,
)
from staticgrad.language.calls.arguments import (
    Argument,
    check_fields,
    computed_at_once,
    namespace,
    public,
    public_form,
    without_synonyms,
)
from staticgrad.language.calls.execution import are_plain, as_graph_value, present
from staticgrad.language.calls.functional import register_functions
from staticgrad.language.ir.forms import COMBINERS, Combiner
from staticgrad.language.ir.graph import BodyOp, Graph
from staticgrad.language.ir.kinds import AnyValue, ArrayLike, binding_kind
from staticgrad.language.ir.nodes import Node, Parameter, Symbolic, ancestors
from staticgrad.language.ir.op import (
    Array,
    Constant,
    Input,
    Op,
    ParameterLeaf,
    op_class,
    registered_ops,
)
from staticgrad.language.ir.python_numbers import PythonNumber
from staticgrad.language.ir.value import Value
from staticgrad.language.ops.elementwise import (
    Elementwise,
    Floating,
    array_dtype,
    broadcast,
    common_dtype,
    lift_operand,
)
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
    PositiveOperand,
    UnitFloat,
    as_value,
    as_values,
    axes_of,
    axis_of,
    check_equal,
    check_vector,
    describe_operands,
    distinct_axes,
    dtype_of,
    floating,
    integer,
    is_number,
    is_only_axis_of_scalar,
    known_integer,
    leaf_array,
    non_negative,
    positive,
    promoted_values,
    reduction_axes,
    shape_of,
    shape_text,
    size_of,
)
from staticgrad.language.ops.reduce import Reduction
from staticgrad.language.ops.rounding import rounded_as_first, rounded_once
from staticgrad.language.types.arrays import (
    BroadcastError,
    Shape,
    TensorType,
    array_of,
    broadcast_shapes,
    convert_array,
    is_array_like,
    is_sparse,
    over_bytes,
    product,
)
from staticgrad.language.types.dim import Dim, Size
from staticgrad.language.types.dtype import DType, as_dtype
from staticgrad.support.caches import cached_property
from staticgrad.support.deprecations import adopt_overrides, deprecated_attribute
from staticgrad.support.docstrings import like
from staticgrad.support.records import NamedTuple, Settings, brief, dataclass

# fmt: off
__all__ = [
    # Values: operands and results of functions
    "AnyValue", "are_plain", "Array", "ArrayLike", "as_value", "as_values", "binding_kind",
    "common_dtype", "floating", "leaf_array", "lift_operand", "present", "promoted_values",
    "Value",
    # Types, sizes and arrays
    "array_of", "as_dtype", "broadcast_shapes", "BroadcastError", "convert_array", "Dim",
    "DType", "is_array_like", "is_sparse", "over_bytes", "product", "Shape", "Size",
    "TensorType",
    # Arguments: annotations that read and check them, and readers to call
    "Argument", "Axes", "axes_of", "axis_of", "check_equal", "check_fields", "distinct_axes",
    "dtype_of", "Fraction", "Integer", "integer", "is_number", "known_integer", "non_negative",
    "NonNegativeFloat", "NonNegativeInt", "Number", "OpenFraction", "positive", "PositiveFloat",
    "PositiveInt", "reduction_axes", "size_of", "UnitFloat", "without_synonyms",
    # Ops and graphs
    "ancestors", "BodyOp", "Combiner", "COMBINERS", "Constant", "Elementwise", "Floating",
    "Graph", "Input", "Node", "Op", "op_class", "Parameter", "ParameterLeaf", "Reduction",
    "registered_ops", "Symbolic",
    # Public functions and classes
    "adopt_overrides", "boundary", "cached_property", "check_arguments", "check_call",
    "check_takes_nothing", "computed_at_once", "cut_frames", "dataclass",
    "deprecated_attribute", "like", "make_boundaries", "NamedTuple", "names_messages",
    "namespace", "public", "public_form", "register_functions", "rounded_once", "Settings",
    # Messages
    "brief", "called_name", "describe_operands", "did_you_mean", "kind_of", "list_names",
    "message", "quote", "raised_inside", "shape_text", "warn",
    # Further parts that families share
    "array_dtype", "as_graph_value", "broadcast", "check_vector", "is_only_axis_of_scalar",
    "PositiveOperand", "PythonNumber", "rounded_as_first", "shape_of",
]
# fmt: on

namespace(globals(), None)
