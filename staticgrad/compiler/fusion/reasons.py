"""The reasons why two neighbouring groups are two kernels, with their numbers.

``legality.find_form_conflict`` returns the reason why two groups are not merged while they grow,
and ``neighbours`` the one reason for each pair of groups after fusion.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import Enum
from string import Formatter
from typing import Any, NamedTuple


class ReasonKind(Enum):
    """The text of a reason; the fields in braces are its numbers, in the order of the call.

    A tuple is written as a list; the text behind a colon replaces an empty one.
    """

    #: Every node was to be a kernel of its own.
    FusionOff = "fusion is off"
    #: The reader's loops run over other axes than those that the value is computed over.
    OtherSpace = "computed over [{computed}], read over [{read}]"
    #: The reader takes a view: at one position it reads an element that lies at another.
    OtherElements = "read through a view of [{shape}] with strides ({strides})"
    #: A reduction is known only after its last term, and the reader needs it before.
    Unfinished = "a reduction over [{over}] is known only after its last term"
    #: The reader needs the operand in memory: it reads elements often, or in no order.
    WholeOperand = "{op} needs its operand of [{shape}] in memory"
    #: One of the two is a step whose kernel holds nothing else, as a sort or a copy.
    KernelOfItsOwn = "the kernel of a {step} computes nothing else"
    #: A memory policy may run the earlier part again, without the later one.
    PhaseBorder = "computed in derivative order {computed}, read in order {read}"
    #: One kernel of two derivative orders would store more than it spares.
    StoresMore = (
        "one kernel of two derivative orders would store {added} bytes more and spare {spared}"
    )
    #: The reader writes a parameter, which must wait for all that read the old value.
    UpdateOrder = "the update of {parameter} waits for all that read its old value"
    #: A new value is a temporary that is copied at the end, where it cannot be written in place.
    UpdateHeldBack = (
        "{parameter} is written by a copy: the step {step} has to run before it is written, and"
        " after its new value is computed"
    )
    UpdateElsewhere = (
        "{parameter} is written by a copy: the kernel reads its old value at other elements than"
        " it writes"
    )
    UpdateInParts = (
        "{parameter} is written by a copy: {count} steps write its new value and read the old one"
    )
    UpdateChecks = (
        "{parameter} is written by a copy: the kernel checks indices, and a run that fails writes"
        " nothing"
    )
    UpdateBeforeLoop = (
        "{parameter} is written by a copy: a loop computes its new value, or reads it, and nothing"
        " is written while a run can be cancelled"
    )
    #: Each of the two is a matrix product, and a kernel holds the tile of one.
    TwoProducts = "two matrix products"
    #: A tile of a matrix product holds parts of rows and columns only.
    ReductionInProduct = "a tile of a matrix product has no whole row or column to reduce"
    #: A tile of a matrix product has no place for checks of positions, or for a search.
    LookupInProduct = "a tile of a matrix product looks up no positions"
    #: A kernel that reduces columns has no place for checks of positions, or for a search.
    LookupInColumns = "a kernel that reduces columns looks up no positions"
    #: Both reduce, but other axes.
    OtherRows = "one reduces the axes {computed:none}, the other {read:none}"
    #: Axes of a row are walked as one where they can be; then no axis has a position.
    PositionsInRow = "one asks for positions, the other reduces {axes} axes as one"
    #: A kernel of windows moves along an axis by several loops.
    PositionsInWindows = (
        "one asks for positions, the other reads windows by several loops along an axis"
    )
    #: One kernel of rows would find a row of several axes in more than one run of memory.
    BrokenRow = "a row of {axes} axes is several runs of memory"
    #: One kernel of rows would not find a row in the cache when it comes back to it.
    #: One kernel of rows has too few of them to share out, and much to do for each.
    FewRows = "{rows} rows of [{row}] are too few to share out"
    #: Sums of columns beside rows take partial results, which are not worth it for so few.
    FewTerms = "columns of {terms} terms, {elements} in all, are not worth partial sums"
    #: Short rows lie in a lane each; a kernel of them sums no columns.
    RowsInLanes = "rows of {length} elements lie in a lane each, without column sums"
    #: What is computed once per row, and read by nothing in its row, takes a vector of rows.
    OncePerRow = (
        "{op}, once per row of about {length} elements, takes a vector of rows in a kernel of its"
        " own"
    )
    #: Together they would pass the limit of a kernel, which takes longer to compile the larger.
    TooLarge = "about {instructions} instructions together, of {limit} at most"
    #: In one kernel operations would wait for each other longer than storing in between takes:
    #: estimates for one vector of elements, of all kernels that the one was cut into.
    LongChain = (
        "a long chain of dependent operations: one kernel would wait about {together} cycles a"
        " vector, its parts take {apart}"
    )
    #: A row is one iteration, of one worker: others can take pieces of it, or its elements.
    SingleRow = (
        "a row of about {elements} elements has work for several workers; one alone combines what"
        " theirs comes to"
    )
    #: A row is read as one run of memory, which what repeats along some of its axes is not.
    Copies = (
        "rows of several axes would be read from copies of {operands} operands; their elements"
        " are stored instead"
    )
    #: The reader also needs a kernel that may have to run after the first of the two.
    Between = (
        "the reader also needs {op}, of kernel level {needed}, and this one is of level"
        " {computed}: a third kernel may stand between the two"
    )
    #: Others need what it computes too, so that it is stored all the same.
    OtherReaders = (
        "stored all the same: other kernels that read it: {kernels}, results among its values:"
        " {results}"
    )

    def __call__(self, *values: object) -> Reason:
        """Return the reason with its numbers."""
        return Reason(self, values)


class Reason(NamedTuple):
    """The reason why a group that computes a value and one that reads it are two kernels."""

    kind: ReasonKind
    values: tuple[object, ...]

    def _parts(self) -> Iterator[tuple[str, str | None, str | None, object]]:
        values = iter(self.values)
        for text, name, default, _ in Formatter().parse(self.kind.value):
            yield text, name, default, None if name is None else next(values)

    def __str__(self) -> str:
        words = []
        for text, name, default, value in self._parts():
            listed = ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)
            words += [text, "" if name is None else listed or default or ""]
        return "".join(words)

    @property
    def numbers(self) -> dict[str, Any]:
        """The numbers of the reason why two groups are not fused, for JSON; sizes as text."""
        return {
            name: [size if isinstance(size, int) else str(size) for size in value]
            if isinstance(value, tuple)
            else value
            for _, name, _, value in self._parts()
            if name is not None
        }
