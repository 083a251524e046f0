"""The records of a loop nest, and the builder that puts them in place.

A nest is a tuple of statements over names. A name is an object of its own, so that no two values
share one by accident. The builder does three things as it goes, each record touched once:

- *value numbering*: an equal operation over equal operands gives the name that is there;
- *placement*: a value stands in the outermost block in which its operands have their values, and a
  load stays inside of the loops that store to its operand;
- *copies*: a value that differs between copies of a loop's body (``PerCopy``) is computed for each
  of them, everything else once. This is unroll-and-jam, for rows and for vectors::

      for i in range(0, n):              for i in range(0, n, 2):
          x = load(p, i * w)     ->          x0, x1 = load(p, i * w), load(p, (i + 1) * w)
          y = x + s                          y0, y1 = x0 + s, x1 + s
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final, cast

from staticgrad.errors import CompileError
from staticgrad.native.language import frontend
from staticgrad.native.language.reader import Procedure
from staticgrad.native.language.records import (
    Apply,
    Arg,
    Block,
    Do,
    For,
    If,
    Let,
    Name,
    Offset,
    Repeat,
    Statement,
    Word,
)
from staticgrad.support.caches import cached_property
from staticgrad.support.records import NamedTuple, dataclass

__all__ = [
    "Apply",
    "Arg",
    "Block",
    "Builder",
    "Do",
    "PerCopy",
    "For",
    "Function",
    "Let",
    "Name",
    "Nest",
    "Offset",
    "Repeat",
    "UnsupportedError",
    "Value",
    "If",
    "Word",
    "Words",
    "copies_of",
    "function",
    "functions_of",
    "pick",
    "place_at",
    "words_of",
]


class UnsupportedError(CompileError):
    """A kernel that cannot be written as a nest; the message names the reason."""


def _by_copies(operation: Callable[[Any, Any], Any]) -> Any:
    def apply(copies: PerCopy, operand: Any) -> PerCopy:
        return PerCopy(operation(value, pick(operand, copy)) for copy, value in enumerate(copies))

    return apply


class PerCopy(tuple[Arg, ...]):
    """The values of one operand in all copies of a loop's body; words have arithmetic."""

    __slots__ = ()

    __add__ = __radd__ = _by_copies(operator.add)
    __mul__ = __rmul__ = _by_copies(operator.mul)
    __sub__, __rsub__ = _by_copies(operator.sub), _by_copies(lambda value, operand: operand - value)
    __floordiv__, __mod__ = _by_copies(operator.floordiv), _by_copies(operator.mod)


Value = Arg | PerCopy
#: A word, or one for each copy.
Words = Word | PerCopy


@dataclass(eq=False)
class Function:
    """A function: nests call it, and it is compiled for each choice of kinds of its arguments."""

    name: str
    parameters: tuple[Name, ...]
    body: Block

    @property
    def procedure(self) -> Procedure:
        """Return the records that LLVM IR is written from."""
        return Procedure(self.parameters, self.body, dict.fromkeys(n.text for n in self.parameters))

    @cached_property
    def content(self) -> str:
        """The records as text, which differs where they do."""
        words = [self.name]
        _spell_record((self.parameters, self.body), words)
        return " ".join(words)


def _spell_record(value: Any, words: list[str]) -> None:
    """Append a nest's record to the text by which functions are compared, in full length."""
    if isinstance(value, tuple):
        words.append(f"{type(value).__name__}(")
        for part in value:
            _spell_record(part, words)
        words.append(")")
    else:
        words.append(repr(value))


class Nest(NamedTuple):
    """``kernel(t, own, begin, end)``, and the functions that it calls, some of which are source."""

    entry: Function
    functions: dict[str, str | Function]


def functions_of(nest: Nest) -> Mapping[str, frontend.Function]:
    """Return the functions of a loop nest by name, the entry last; parse those given as source."""
    functions: dict[str, frontend.Function] = {}
    for function in nest.functions.values():
        functions |= (
            {function.name: function}
            if isinstance(function, Function)
            else frontend.functions_of(function)
        )
    return {**functions, nest.entry.name: nest.entry}


class _OpenBlock:
    """A block under construction."""

    __slots__ = ("assigned", "available", "is_branch", "out", "stored")

    def __init__(self, stored: frozenset[str], is_branch: bool) -> None:
        self.out: list[Statement] = []
        self.available: dict[Any, Name] = {}
        self.assigned: dict[Name, None] = {}
        self.stored, self.is_branch = stored, is_branch


#: Operations that fail for some operands, so that they stay behind the tests around them.
_FAILING: Final = ("floordiv", "mod")


class Builder:
    """Appends statements to the innermost open block, and values where they belong."""

    def __init__(self) -> None:
        self.blocks = [_OpenBlock(frozenset(), False)]
        self.reserved: set[str] = set()
        self.count = self._inside = 0
        self._stores: dict[str, int] = {}

    # -- values

    def name(self, prefix: str, depth: int, is_variable: bool = False) -> Name:
        """A new name."""
        text = f"{prefix}{self.count}"
        self.count += 1
        if text in self.reserved:
            return self.name(prefix, depth, is_variable)
        return Name(text, depth, is_variable, self)

    def define(self, text: str, name: str, *args: Arg) -> Name:
        """A value before all loops whose name is given."""
        new_name = Name(text, 0, False, self)
        self.blocks[0].out.append(Let(new_name, Apply(name, args)))
        return new_name

    def op(self, name: str, *args: Value) -> Any:
        """The value of an operation that touches no memory, for each copy if operands differ."""
        for arg in args:
            if type(arg) is PerCopy:
                return self.each(name, args)
        fails = name in _FAILING and type(args[1]) is Name
        return self._hoist("v", name, args, len(self.blocks) - 1 if fails else 0)

    def word(self, name: str, *args: Arg) -> Word:
        """The value of an operation on words that gives a word."""
        word: Word = self.op(name, *args)
        return word

    def quotient(self, a: Arg, b: Arg) -> Name:
        """a // b of words, of which b is at least 1."""
        return self._hoist("v", "floordiv", (a, b), 0)

    def each(self, name: str, args: tuple[Value, ...]) -> PerCopy:
        """The same over operands of which some differ between copies."""
        count = max(len(arg) for arg in args if type(arg) is PerCopy)
        return PerCopy(self.op(name, *(pick(arg, k) for arg in args)) for k in range(count))

    def load(self, operand: str, name: str, *args: Arg) -> Name:
        """Write a load of an operand's memory in the nest, and return its name."""
        least = 0
        for depth in range(len(self.blocks) - 1, 0, -1):
            block = self.blocks[depth]
            if block.is_branch or operand in block.stored:
                least = depth
                break
        return self._hoist("v", name, args, least, self._stores.get(operand, 0))

    def local(self, code: str, count: int) -> Name:
        """New scratch on the stack."""
        return self._let("l", Apply(f"local_{code}", (count,)), len(self.blocks) - 1)

    def _hoist(
        self, prefix: str, name: str, args: tuple[Any, ...], least: int, stores: int = 0
    ) -> Name:
        """Write an operation in the outermost block that has its arguments (hoisting), once."""
        depth, is_fixed = 0, True
        key: list[Any] = [name, stores]
        for arg in args:
            kind = type(arg)
            if kind is Name:
                if arg.is_variable:
                    is_fixed = False
                elif arg.depth > depth:
                    depth = arg.depth
                key.append(arg)
            elif kind is Offset:
                for term in arg.terms:
                    for factor in term:
                        if type(factor) is Name:
                            if factor.is_variable:
                                is_fixed = False
                            elif factor.depth > depth:
                                depth = factor.depth
                key.append(arg)
            else:
                key.append(repr(arg))
        if not is_fixed:
            return self._let(prefix, Apply(name, args), len(self.blocks) - 1)
        numbered, first = tuple(key), depth
        depth = max(depth, least, self._inside)
        for block in self.blocks[first : depth + 1]:  # what is computed around is there already
            available = block.available.get(numbered)
            if available is not None:
                return available
        available = self.blocks[depth].available[numbered] = self._let(
            prefix, Apply(name, args), depth
        )
        return available

    def _let(self, prefix: str, value: Apply, depth: int) -> Name:
        name = self.name(prefix, depth)
        self.blocks[depth].out.append(Let(name, value))
        return name

    def pointer(self, pointer: Name, place: Offset) -> tuple[Name, Offset]:
        """Return a pointer with what outer loops add, and the remaining offset of a place."""
        innermost = len(self.blocks) - 1
        by_depth: dict[int, list[tuple[Name, Name | int]]] = {}
        for term in place.terms:
            a, b = term
            depth = innermost if a.is_variable else a.depth
            if type(b) is Name:
                depth = innermost if b.is_variable else max(depth, b.depth)
            by_depth.setdefault(depth, []).append(term)
        for depth in sorted(by_depth):
            if depth < innermost:
                part = Offset(tuple(by_depth.pop(depth)))
                derived = self._hoist("q", "at", (pointer, part), 0)
                derived.at = pointer, part
                pointer = derived
        inner_terms = by_depth.get(innermost, ())
        return pointer, Offset(tuple(inner_terms), place.constant)

    # -- statements

    def do(self, name: str, *args: Arg, stores: str = "") -> None:
        """An operation without a value; ``stores``: the operand that it writes to."""
        if stores:
            self._stores[stores] = self._stores.get(stores, 0) + 1
        self.blocks[-1].out.append(Do(Apply(name, args)))

    def variable(self, prefix: str, name: str, *args: Value) -> Any:
        """A variable (one for each copy, if operands differ), with its first value."""
        return self.new_variable(prefix, Apply(name, args))

    def new_variable(self, prefix: str, value: Apply) -> Any:
        """Write a variable of the nest (one for each copy) with its first value."""
        count = max((len(a) for a in value.args if type(a) is PerCopy), default=0)
        if count:
            args = [tuple(pick(a, k) for a in value.args) for k in range(count)]
            return PerCopy(
                self.new_variable(prefix, Apply(value.name, copy_args)) for copy_args in args
            )
        variable = self.name(prefix, len(self.blocks) - 1, True)
        self.blocks[-1].out.append(Let(variable, value))
        return variable

    def assign(self, variable: Value, name: str, *args: Value) -> None:
        """Write an assignment to a variable of the nest, or of each interleaved copy."""
        if type(variable) is PerCopy:
            for k, copy_variable in enumerate(variable):
                self.assign(copy_variable, name, *(pick(arg, k) for arg in args))
            return
        assert isinstance(variable, Name)
        for block in self.blocks[variable.depth + 1 :]:
            block.assigned[variable] = None
        self.blocks[-1].out.append(Let(variable, Apply(name, args)))

    def least(self, a: Word, b: Word) -> Word:
        """The smaller one of two words."""
        if isinstance(a, int) and isinstance(b, int):
            return min(a, b)
        return self.word("choose_lt", a, b, a, b)

    def most(self, a: Word, b: Word) -> Word:
        """The larger one of two words."""
        if isinstance(a, int) and isinstance(b, int):
            return max(a, b)
        return self.word("choose_gt", a, b, a, b)

    @contextmanager
    def loop(
        self,
        start: Name | int,
        stop: Name | int,
        step: Name | int = 1,
        stored: frozenset[str] = frozenset(),
        prefix: str = "i",
    ) -> Iterator[Name]:
        """Open a counted loop of the nest; ``stored``: the operands that are stored to inside."""
        index = self.name(prefix, len(self.blocks))
        block = self._enter(stored, False)
        yield index
        self.blocks.pop()
        body, assigned = tuple(block.out), tuple(block.assigned)
        if body:
            self.blocks[-1].out.append(For(index, start, stop, step, body, assigned))

    @contextmanager
    def inside(self) -> Iterator[list[Statement]]:
        """A block whose statements the caller puts into a loop."""
        block = self._enter(frozenset(), False)
        yield block.out
        self.blocks.pop()

    @contextmanager
    def repeat(self, test: Apply, stored: frozenset[str] = frozenset()) -> Iterator[None]:
        """A loop as long as a test holds."""
        block = self._enter(stored, False)
        yield
        self.blocks.pop()
        self.blocks[-1].out.append(Repeat(test, tuple(block.out), tuple(block.assigned)))

    @contextmanager
    def branch(self, name: str, *args: Arg, rare: bool = False) -> Iterator[None]:
        """Open a branch that runs if a test is true; ``rare``: nothing of it is hoisted."""
        block, inside = self._enter(frozenset(), True), self._inside
        if rare:
            self._inside = len(self.blocks) - 1
        yield
        self.blocks.pop()
        self._inside = inside
        if block.out:
            self.blocks[-1].out.append(If(Apply(name, args), tuple(block.out)))

    @contextmanager
    def otherwise(self) -> Iterator[None]:
        """Open the else branch of the branch before."""
        branch = self.blocks[-1].out.pop()
        assert isinstance(branch, If)
        block = self._enter(frozenset(), True)
        yield
        self.blocks.pop()
        self.blocks[-1].out.append(branch._replace(orelse=tuple(block.out)))

    def cases(self, cases: Sequence[tuple[tuple[Any, ...], Callable[[], None]]]) -> None:
        """Write an if-else chain: the first case whose test holds; the last one has no test."""
        (test, write), *later_cases = cases
        if not later_cases:
            write()
            return
        with self.branch(*test):
            write()
        with self.otherwise():
            self.cases(later_cases)

    def _enter(self, stored: frozenset[str], is_branch: bool) -> _OpenBlock:
        for operand in stored:
            self._stores[operand] = self._stores.get(operand, 0) + 1
        self.blocks.append(_OpenBlock(stored, is_branch))
        return self.blocks[-1]


def copies_of(values: Iterable[Any]) -> Any:
    """One value, or those of all copies."""
    copies = PerCopy(values)
    return copies if len(copies) > 1 else copies[0]


def words_of(words: Words) -> Sequence[Word]:
    """Return a word, or that of each copy."""
    return cast("Sequence[Word]", words) if isinstance(words, PerCopy) else [words]


def place_at(*terms: tuple[Word, Word], constant: int = 0) -> Offset:
    """Return the offset that is a sum of products of words, and a constant."""
    products: list[tuple[Name, Word]] = []
    for a, b in terms:
        if isinstance(a, int):
            a, b = b, a
        if isinstance(a, int):
            assert isinstance(b, int)
            constant += a * b
        elif not (isinstance(b, int) and b == 0):
            products.append((a, b))
    return Offset(tuple(products), constant)


def function(name: str, parameters: Sequence[str], write: Callable[..., None]) -> Function:
    """Return the function of a body: ``write`` takes a builder, then what parameters hold."""
    b = Builder()
    b.reserved |= {*parameters}
    names = tuple([Name(text, 0, False, b) for text in parameters])
    write(b, *names)
    return Function(name, names, tuple(b.blocks[0].out))


def pick(value: Any, copy: int) -> Any:
    """The value in one copy."""
    return value[copy] if type(value) is PerCopy else value
