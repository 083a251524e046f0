"""What reads programs of another library: one engine, of which each library is a table.

A front end has three parts, of which the first is long:

- a table: ``Table``, and a row for each operator (``tables.py``);
- a class of programs: ``class LaxProgram(Program): table = PRIMITIVES`` (``calls.py``);
- a reader, which is the one part that imports the library: it writes a graph there as a
  ``Program``, with a ``Call`` of an ``Operator`` for each node.

The engine computes the rest: operands and constants (``operands.py``), integers that are computed
of shapes (``sizes.py``), results in the element types of the library, errors that name the operator
and the user's line, what has no row and why, and the page of what has one (``coverage.py``).
"""
