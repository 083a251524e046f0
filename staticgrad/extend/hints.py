"""Errors that explain a name that does not exist, with the words of other libraries."""

from staticgrad.errors.hints import (
    OF_MODULES,
    OF_OPTIMIZERS,
    as_imported,
    attributes,
    discards_result,
    no_such_attribute,
    no_such_name,
)

# fmt: off
__all__ = [
    "as_imported", "attributes", "discards_result", "no_such_attribute", "no_such_name",
    "OF_MODULES", "OF_OPTIMIZERS",
]
# fmt: on
