"""Values in containers: dicts, lists, tuples, dataclasses and modules as lists of leaves."""

from staticgrad.language.trees import (
    Contents,
    ObjectParts,
    Tree,
    flatten,
    has_parameters,
    is_module,
    map_leaves,
    parts,
    paths,
    registered_parts,
    unflatten,
    with_complex_values,
)
from staticgrad.support.containers import (
    fill_container,
    first_part,
    is_named_tuple,
    items_of,
    parts_in,
)

# fmt: off
__all__ = [
    "Contents", "fill_container", "first_part", "flatten", "has_parameters", "is_module",
    "is_named_tuple", "items_of", "map_leaves", "ObjectParts", "parts", "parts_in", "paths",
    "registered_parts", "Tree", "unflatten", "with_complex_values",
]
# fmt: on
