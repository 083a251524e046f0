"""Ops that have no row, by the reason.

In the mode PyTensor computes their nodes; ``sg.pytensor.function`` raises an error with the reason.
"""

from __future__ import annotations

from typing import Final

_BY_REASON: Final = {
    "only a run computes how many elements a result has": "Nonzero Unique Lstsq",
    "it draws random numbers, and PyTensor's generators are the ones of NumPy": """
        RandomVariable RNGConsumerOp AbstractRNGConstructor DefaultGeneratorMakerOp
        RandomVariableWithCoreShape""",
    "there is no such routine of matrices": "QZ LUFactorTridiagonal SolveLUFactorTridiagonal",
    "it calls a function of Python in each run": """
        FromFunctionOp JAXOp ScipyWrapperOp Print PdbBreakpoint""",
    "its result is a slice": "MakeSlice",
    "it belongs to another linker": "JAXShapeTuple Output",
    "its operands are sparse matrices with a pattern of the run": "sparse",
    "its operands are lists": "typed_list",
    "PyTensor rewrites it to Ops of tensors": "xtensor",
}
#: The name of an Op's class, or of its package in PyTensor -> why it has no row.
REFUSED: Final = {name: reason for reason, names in _BY_REASON.items() for name in names.split()}
#: Classes that other Ops derive from; no node of a graph has one.
ABSTRACT: Final = frozenset({
    "COp", "ExternalCOp", "OpenMPOp", "_NoPythonOp", "_NoPythonCOp", "ScalarOp", "UnaryScalarOp",
    "BinaryScalarOp", "BinaryBitOp", "UnaryBitOp", "LogicalComparison", "FixedLogicalComparison",
    "BaseBLAS", "GemmRelated", "SolveBase", "BaseBlockDiagonal",
})  # fmt: skip
