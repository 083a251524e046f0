"""Parameters: their arrays, and complex ones, which are stored as pairs of real numbers."""

from staticgrad.language.ir.pairs import (
    Complex,
    ComplexParameter,
    check_real,
    has_parts,
    join_parts,
    pair,
    real_gradients,
    stored_array,
    stored_of,
)
from staticgrad.language.storage.parameter import ParameterStore, Shard, write_all
from staticgrad.language.types.arrays import (
    ALIGNMENT,
    ArrayData,
    as_parts,
    have_same_elements,
    of_parts,
)

# fmt: off
__all__ = [
    "ALIGNMENT", "ArrayData", "as_parts", "check_real", "Complex", "ComplexParameter",
    "has_parts", "have_same_elements", "join_parts", "of_parts", "pair", "ParameterStore",
    "real_gradients", "Shard", "stored_array", "stored_of", "write_all",
]
# fmt: on
