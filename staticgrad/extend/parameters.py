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
from staticgrad.language.storage.parameter import (
    Deferred,
    ParameterStore,
    Shard,
    read_together,
    write_all,
    write_each,
)
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
    "Deferred", "has_parts", "have_same_elements", "join_parts", "of_parts", "pair",
    "ParameterStore", "read_together", "real_gradients", "Shard", "stored_array", "stored_of",
    "write_all", "write_each",
]
# fmt: on
