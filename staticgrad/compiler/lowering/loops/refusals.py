"""Why a loop is not one kernel: a table of the reasons.

A loop that is not one kernel runs step by step: the driver calls the kernels of its body in each
iteration. ``NotWrittenOutError`` carries the reason from where it is found to
``time_loops.lower_time_loop``, which tries the other ways; ``f.explain()`` prints the last one.
"""

from __future__ import annotations

from enum import Enum


class WhyDriven(Enum):
    """A reason in words."""

    #: What a loop is.
    Logged = "its iterations are logged for the gradient"
    Endless = "only its test ends it"
    SizedTest = "it ends by a test, and how often it runs at most depends on a size"
    #: What its body is.
    Steps = "its body has loops, branches, calls of routines or several kernels in a step"
    Grouped = "a kernel of its body takes its rows in groups, strips or squares"
    Deep = "the loops of its body nest too deep"
    Stage = "its body sorts, searches or sums columns in groups"
    InnerEnd = "a loop in its body ends by a test, or has interleaved iterations"
    Limits = "a loop in its body begins or ends at a number that is computed"
    Serial = "rows of its body run in their order"
    NarrowProduct = "its body multiplies matrices of 16-bit numbers"
    #: What its rows do.
    OtherRow = "a row reads what another row computes"
    SharedElement = "rows store to elements that are not theirs alone"
    AcrossRows = "its body reduces across rows"
    Border = "some rows of a window lie beyond an end"
    Partial = "not every element of a result is stored"
    Nothing = "its body stores nothing"
    #: What it looks up.
    Lookup = "its body looks up elements of what an iteration computes"
    Lookups = "elements of a row look up several indices"
    Scatter = "its body stores at indices that are computed"
    EmptyLookup = "its body looks up in what may be empty"
    Constant = "its body reads an array of constants, or NaN"
    #: What was weighed.
    SizedLoop = "how often it runs depends on a size"
    TooLong = "its body has too many operations to write out"
    Wide = "its rows load and store too many elements to write out"
    LongSum = "a sum of its body has too many terms to write out"
    Shared = "workers share the steps of its body"
    Slower = "one kernel is predicted to take as long"

    def __str__(self) -> str:
        return str(self.value)


class NotWrittenOutError(Exception):
    """Raised if a loop is not written as one kernel in some way: the next way is tried."""

    def __init__(self, why: WhyDriven) -> None:
        super().__init__(str(why))
        self.why = why
