"""The reasons why a loop is not compiled to one kernel.

Such a loop runs step by step: the driver calls the kernels of its body in each iteration.
``LoopRefusedError`` passes the reason to ``time_loops.lower_time_loop``, which tries other
strategies; ``f.explain()`` prints the last reason.
"""

from __future__ import annotations

from enum import Enum


class LoopRefusal(Enum):
    """A reason, with the text that ``f.explain()`` prints."""

    #: Kinds of loops.
    Logged = "its iterations are logged for the gradient"
    Endless = "only its test ends it"
    SizedTest = "it ends by a test, and how often it runs at most depends on a size"
    #: Kinds of bodies.
    Steps = "its body has loops, branches, calls of routines or several kernels in a step"
    Grouped = "a kernel of its body takes its rows in groups, strips or squares"
    Deep = "the loops of its body nest too deep"
    Stage = "its body sorts, searches or sums columns in groups"
    InnerEnd = "a loop in its body ends by a test, or has interleaved iterations"
    Limits = "a loop in its body begins or ends at a number that is computed"
    Serial = "rows of its body run in their order"
    NarrowProduct = "its body multiplies matrices of 16-bit numbers"
    #: Dependences between rows.
    OtherRow = "a row reads what another row computes"
    SharedElement = "rows store to elements that are not theirs alone"
    AcrossRows = "its body reduces across rows"
    Border = "some rows of a window lie beyond an end"
    Partial = "not every element of a result is stored"
    Nothing = "its body stores nothing"
    #: Gathers, scatters and constants.
    Lookup = "its body looks up elements of what an iteration computes"
    Lookups = "elements of a row look up several indices"
    Scatter = "its body stores at indices that are computed"
    EmptyLookup = "its body looks up in what may be empty"
    Constant = "its body reads an array of constants, or NaN"
    #: Costs.
    SizedLoop = "how often it runs depends on a size"
    TooLong = "its body has too many operations to write out"
    Wide = "its rows load and store too many elements to write out"
    LongSum = "a sum of its body has too many terms to write out"
    Shared = "workers share the steps of its body"
    Slower = "one kernel is predicted to take as long"

    def __str__(self) -> str:
        return str(self.value)


class LoopRefusedError(Exception):
    """Raised if a strategy cannot compile a loop to one kernel; the next one is tried."""

    def __init__(self, reason: LoopRefusal) -> None:
        super().__init__(str(reason))
        self.reason = reason
