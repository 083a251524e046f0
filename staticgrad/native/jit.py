"""Sources of kernels or LLVM IR text -> machine code as an ELF object, for an explicit target.

The pass pipeline is short on purpose: kernels are written with explicit vectors, so nothing is
left for an auto-vectoriser, and the vectorisers are what miscompiles. ``vector`` writes few
instructions too many: combining them (instcombine) takes a tenth of LLVM's time for a small gpt,
and its steps take 3 % longer then, those of option prices 8 %. One lock covers compilation; LLVM
contexts and target machines are made once per target.
"""

from __future__ import annotations

import functools
import hashlib
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any, Final, Literal

from staticgrad.native import headroom, target as targets
from staticgrad.native.language.emitter import SELDOM
from staticgrad.native.language.parts import linked, text_of
from staticgrad.native.lock import LOCK
from staticgrad.native.source import KernelSource
from staticgrad.native.target import Target
from staticgrad.native.undisturbed import undisturbed
from staticgrad.support.errors import CompileError
from staticgrad.support.records import dataclass

if TYPE_CHECKING:
    from staticgrad.native.language.frontend import Modules

Compiled = Literal["numba", "vector"]
"""The backend that turns a source into LLVM IR."""

#: Instructions to a branch beyond which a module is a long run of them.
LONG_RUN: Final = 24
#: What other objects define is called by its address in a table of the object's own, and so is what
#: LLVM adds calls of: ``loader`` lays out all that an object needs before it loads it, and such
#: tables count, whereas stubs that LLVM's loader would add do not.
_FLAGS: Final = (
    '!llvm.module.flags = !{!999999}\n!999999 = !{i32 7, !"RtLibUseGOT", i32 1}\n'
    f'!{SELDOM} = !{{!"branch_weights", i32 1, i32 4000}}\n'
)
#: LLVM's options that leave out what finds nothing in kernels: reducing the strength of operations
#: in loops, hoisting constants, moving integers to registers of masks; and what finds copies of
#: registers, which processors rename.
_LEFT_OUT: Final = tuple(
    f"-disable-{each}"
    for each in ("lsr", "constant-hoisting", "x86-domain-reassignment", "copyprop")
)
_compilers: dict[str, Compiler] = {}


@dataclass(frozen=True)
class ObjectCode:
    """Machine code: a relocatable ELF object and the name of its entry."""

    elf: bytes
    symbol: str


#: In the names of instructions for which LLVM ends the process where a target does not have them.
_WIDE: Final = "@llvm.x86.avx512."


class Compiler:
    """LLVM set up for one target."""

    def __init__(self, target: Target) -> None:
        self.llvm = targets.binding()
        self.machines = {level: targets.machine(target, level) for level in (1, 2)}
        self.machine = self.machines[2]
        self.layout = str(self.machine.target_data)
        self.target = target
        options = self.llvm.create_pipeline_tuning_options(speed_level=1)
        options.loop_vectorization = False
        options.slp_vectorization = False
        options.loop_unrolling = False
        self.builder = self.llvm.create_pass_builder(self.machine, options)

    def attributes(self) -> str:
        return f'attributes #0 = {{ nounwind "prefer-vector-width"="{self.target.vector_bits}" }}'

    def optimise(self, module: Any, slots: bool) -> None:
        """Inlines; with ``slots`` (Numba's code) makes variables on the stack registers."""
        manager = self.llvm.create_new_module_pass_manager()
        manager.add_always_inliner_pass()
        if slots:
            for _ in range(2):
                manager.add_sroa_pass()
                manager.add_instruction_combine_pass()
                manager.add_simplify_cfg_pass()
            manager.add_global_dead_code_eliminate_pass()
        else:
            manager.add_sroa_pass()
            manager.add_simplify_cfg_pass()
        manager.run(module, self.builder)

    def module(self, texts: Sequence[str]) -> Any:
        """Return the texts as one optimised module that exports what the first one defines."""
        header = f'target datalayout = "{self.layout}"\ntarget triple = "{self.target.triple}"\n'
        if not self.target.has_mask_registers and any(_WIDE in text for text in texts):
            raise CompileError(
                "the source is written for registers of 512 bits, which this target does not have",
                hint="render the kernel without vector_bits: it is then written for this machine",
            )
        first, *rest = (f"{text}\n{self.attributes()}\n" for text in texts)
        module = self.llvm.parse_assembly(f"{header}{first}{_FLAGS}")
        if rest:  # asking for each function takes a tenth of the time of reading the text
            _link_inside(module, map(self.llvm.parse_assembly, rest))
        module.verify()
        self.optimise(module, bool(rest))
        return module

    def emit(self, texts: Sequence[str], level: int | None = None) -> bytes:
        """Return the ELF object of a module that exports what the first text defines.

        Numba's code has several texts, and LLVM finds its addresses.
        """
        machine, module = self.machines[level or level_of(texts)], self.module(texts)
        with self._left_out() if len(texts) == 1 else nullcontext():
            return bytes(machine.emit_object(module))

    def assembly(self, texts: Sequence[str], level: int) -> str:
        """Return the assembly text of the ELF object that ``emit`` returns."""
        module = self.module(texts)
        with self._left_out() if len(texts) == 1 else nullcontext():
            return str(self.machines[level].emit_assembly(module))

    @contextmanager
    def _left_out(self) -> Iterator[None]:
        """Without some passes: kernels move their addresses on by themselves, for instance.

        The options are the process's, and read when code is emitted. What another thread has LLVM
        emit in between (llvmlite does one call at a time) is as right without.
        """
        for option in _LEFT_OUT:
            self.llvm.set_option("staticgrad", option)
        try:
            yield
        finally:
            for option in _LEFT_OUT:
                self.llvm.set_option("staticgrad", f"{option}=false")


def level_of(texts: Sequence[str]) -> int:
    """LLVM's level for modules: 2 for long runs of instructions, which it then schedules.

    Where control branches often, 1 takes a tenth less time, and the code runs as fast.
    """
    lines, branches = (sum(text.count(each) for text in texts) for each in ("\n", "\n  br "))
    return 2 if lines > LONG_RUN * branches else 1


def compiler(target: Target) -> Compiler:
    """LLVM set up for a target, once per process."""
    found = _compilers.get(target.key)
    if found is None:
        found = _compilers[target.key] = Compiler(target)
    return found


@functools.lru_cache(maxsize=1 << 8)
def symbol_of(key: str, backend: Compiled) -> str:
    """The entry name of a source: unique by its key and the backend."""
    return f"sg_{backend[0]}_{hashlib.blake2b(key.encode(), digest_size=12).hexdigest()}"


def compile_ir(
    texts: Sequence[str], symbol: str, target: Target, level: int | None = None
) -> ObjectCode:
    """Compile LLVM IR modules; the first one has ``symbol`` and the attributes ``#0``.

    ``level`` is LLVM's; None chooses it by the modules.
    """
    with LOCK:
        headroom.require(headroom.COMPILE, "compiling a kernel")
        try:
            return ObjectCode(undisturbed(lambda: compiler(target).emit(texts, level)), symbol)
        except RuntimeError as error:
            raise CompileError("LLVM refused a kernel", details=[str(error)]) from error


def modules(source: KernelSource, backend: Compiled, host: Target) -> Sequence[str]:
    """The LLVM IR of a kernel, with the functions that it shares.

    Raises CompileError when the backend does not take the source.
    """
    if backend == "vector":
        found = written(source, host)
        return [text_of(linked([found.kernel, *found.shared.values()]))]
    from staticgrad.native.language.translation import KernelSourceError

    if "numba" not in sys.modules:
        headroom.require(headroom.NUMBA, "loading Numba")
    from staticgrad.native.by_numba import frontend

    symbol, text = symbol_of(source.key, backend), source.text
    try:
        return undisturbed(lambda: frontend.modules(text, symbol, host))
    except KernelSourceError as error:
        raise _not_compiled(error) from error


def written(source: KernelSource, host: Target) -> Modules:
    """The modules of a kernel and of the functions that it shares, by ``vector``.

    Raises CompileError when the source is not in the kernel language.
    """
    from staticgrad.native.language import frontend
    from staticgrad.native.language.translation import KernelSourceError

    try:
        return frontend.modules(source.functions(), symbol_of(source.key, "vector"), host)
    except KernelSourceError as error:
        raise _not_compiled(error) from error


def _not_compiled(error: Exception) -> CompileError:
    return CompileError(f"a kernel could not be compiled: {error}")


def as_text(source: KernelSource, backend: Compiled, form: Literal["llvm", "asm"]) -> str:
    """A kernel's LLVM IR as code is generated from it, or its assembly, for this machine's target.

    The functions that it shares with other kernels stand behind it.
    """
    with LOCK:
        texts, made = modules(source, backend, targets.host()), compiler(targets.host())
        if form == "llvm":
            return undisturbed(lambda: str(made.module(texts)))
        return undisturbed(lambda: made.assembly(texts, level_of(texts)))


def _link_inside(module: Any, others: Iterable[Any]) -> None:
    """Link other modules into a module, which exports only its own definitions."""
    entries = {function.name for function in module.functions if not function.is_declaration}
    for each in others:
        module.link_in(each)
    for value in (*module.functions, *module.global_variables):
        if not value.is_declaration and value.name not in entries:
            value.linkage = "internal"
