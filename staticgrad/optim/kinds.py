"""Which states an optimizer keeps for a parameter, found out on parameters made for it alone.

What was saved of an optimizer of another kind is refused when it is loaded, not at the first step.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from staticgrad.errors import SavedFileError
from staticgrad.errors.wording import listed
from staticgrad.functions import parameter
from staticgrad.ir.session import running_session
from staticgrad.optim.state import ACCUMULATOR, states_made_by

if TYPE_CHECKING:
    from staticgrad.optim.optimizer import Optimizer

#: A rule may keep something else for vectors than for matrices and filters.
_SHAPES: Final = ((), (2,), (2, 2), (2, 2, 2, 2))


def refuse_other_kind(optimizer: Optimizer, states: Mapping[str, Any]) -> None:
    """Refuse states of parameters by names that ``optimizer`` never uses.

    Those of the optimizer as a whole, which are single numbers, may differ: a rate that was a
    schedule, say.

    Raises:
        SavedFileError: with the names that it uses.
    """
    given = {name.rpartition(".")[2] for name, array in states.items() if np.shape(array) != ()}
    if not given or running_session() is not None:
        return
    own = _names(optimizer)
    if own is not None and not given <= own:
        keeps = f"keeps {listed(sorted(own))}" if own else "keeps nothing"
        raise SavedFileError(
            f"states of another optimizer: {type(optimizer).__name__} {keeps} for a parameter, and"
            f" is given {listed(sorted(given))}",
            hint="make the optimizer with the options that it was saved with",
        )


def _names(optimizer: Optimizer) -> frozenset[str] | None:
    """The names of what it keeps for parameters; None: its rule does not take ours."""
    found = {ACCUMULATOR} if optimizer.accumulate > 1 else set()

    def make(owner: Any, name: str, shape: Any, dtype: Any) -> Any:
        if owner is not None:
            found.add(name)
        return parameter(name, np.zeros(shape, dtype))

    for part in optimizer.parts():
        for shape in _SHAPES:
            p = parameter("p", np.zeros(shape, np.float32))
            try:
                with states_made_by(make):
                    part.advanced({p: p})
            except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError):
                return None  # a rule from outside, for parameters of its own
    return frozenset(found)
