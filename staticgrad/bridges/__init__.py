"""One engine for programs of other libraries: each library is a table.

A front end has three parts, of which the first is long:

- a table: ``OperatorTable``, and a row for each operator (``tables.py``);
- a class of programs: ``class LaxProgram(ForeignProgram): table = PRIMITIVES`` (``calls.py``);
- a reader, which is the one part that imports the library: it writes a graph there as a
  ``ForeignProgram``, with a ``ForeignCall`` of a ``ForeignOperator`` for each node.

The engine computes the rest: operands and constants (``operands.py``), integers that are computed
of shapes (``sizes.py``), results in the element types of the library, errors that name the operator
and the user's line, what has no row and why, and the page of what has one (``coverage.py``).
"""
