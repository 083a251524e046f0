"""Sources of kernels or LLVM IR text -> machine code as an ELF object, for an explicit target.

The pass pipeline is short on purpose: kernels are written with explicit vectors, so nothing is
left for an auto-vectoriser, and the vectorisers are what miscompiles. ``vector`` writes few
instructions too many: combining them (instcombine) takes a tenth of LLVM's time for a small gpt,
and its steps take 3 % longer then, those of option prices 8 %. Several modules may be compiled at
once, each by a ``Compiler`` of its own: a context, target machines, a pass builder.
"""

from __future__ import annotations

import functools
import hashlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, Literal

from staticgrad.errors import CompileError
from staticgrad.native import headroom, target as targets
from staticgrad.native.language.parts import SELDOM, merge_modules, text_of
from staticgrad.native.source import KernelSource
from staticgrad.native.target import Target
from staticgrad.native.undisturbed import LibraryCall, begin, run_uninterrupted
from staticgrad.support.records import dataclass

if TYPE_CHECKING:
    from staticgrad.native.language.frontend import Modules

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
    f"-disable-{pass_name}"
    for pass_name in ("lsr", "constant-hoisting", "x86-domain-reassignment", "copyprop")
)
#: Compilers that nobody uses, by the key of their target.
_idle: Final[dict[str, list[Compiler]]] = {}


@dataclass(frozen=True)
class ObjectCode:
    """Machine code: a relocatable ELF object and the name of its entry."""

    elf: bytes
    symbol: str


#: In the names of instructions for which LLVM ends the process where a target does not have them.
_WIDE: Final = "@llvm.x86.avx512."


class Compiler:
    """LLVM set up for one target and one thread."""

    def __init__(self, target: Target) -> None:
        self.llvm = targets.binding()
        self.context = self.llvm.create_context()
        self.machines = {level: targets.machine(target, level) for level in (0, 1, 2)}
        self.machine = self.machines[2]
        self.layout = str(self.machine.target_data)
        self.target = target
        options = self.llvm.create_pipeline_tuning_options(speed_level=1)
        # kernels have explicit vectors, and loops that are unrolled as far as it pays
        options.loop_vectorization = False
        options.slp_vectorization = False
        options.loop_unrolling = False
        self.builder = self.llvm.create_pass_builder(self.machine, options)

    def attributes(self) -> str:
        return f'attributes #0 = {{ nounwind "prefer-vector-width"="{self.target.vector_bits}" }}'

    def optimise(self, module: Any) -> None:
        """Inline functions and make variables on the stack registers."""
        manager = self.llvm.create_new_module_pass_manager()
        # Stack variables become registers (SROA) behind inlining alone: before it their addresses
        # are arguments.
        manager.add_always_inliner_pass()
        manager.add_sroa_pass()
        manager.add_simplify_cfg_pass()
        manager.run(module, self.builder)

    def module(self, text: str) -> Any:
        """Parse LLVM IR text and run the optimisation pipeline on it."""
        header = f'target datalayout = "{self.layout}"\ntarget triple = "{self.target.triple}"\n'
        if not self.target.has_mask_registers and _WIDE in text:
            raise CompileError(
                "the source is written for registers of 512 bits, which this target does not have",
                hint="render the kernel without vector_bits: it is then written for this machine",
            )
        complete = f"{header}{text}\n{self.attributes()}\n{_FLAGS}"
        module = self.llvm.parse_assembly(complete, self.context)
        module.verify()
        self.optimise(module)
        return module

    def emit(self, text: str, level: int | None = None) -> bytes:
        """Return the ELF object of a module."""
        machine = self.machines[level_of(text) if level is None else level]
        module = self.module(text)
        with _left_out:
            return targets.emit_object(machine, module)

    def assembly(self, text: str, level: int) -> str:
        """Return the assembly text of the ELF object that ``emit`` returns."""
        module = self.module(text)
        with _left_out:
            return str(self.machines[level].emit_assembly(module))


class _LeftOut:
    """Some passes: kernels move their addresses on by themselves, for instance.

    The options are the process's, and read when code is emitted: the first thread that emits sets
    them, the last one takes them back. What others have LLVM emit in between is as right without.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._threads = 0

    def __enter__(self) -> None:
        with self._lock:
            if not self._threads:
                self._set("")
            self._threads += 1

    def __exit__(self, *error: object) -> None:
        with self._lock:
            self._threads -= 1
            if not self._threads:
                self._set("=false")

    def _set(self, value: str) -> None:
        for option in _LEFT_OUT:
            targets.binding().set_option("staticgrad", f"{option}{value}")


_left_out: Final = _LeftOut()


def level_of(text: str) -> int:
    """LLVM's level for a module: 2 for long runs of instructions, which it then schedules.

    Where control branches often, 1 takes a tenth less time, and the code runs as fast.
    """
    lines, branches = (text.count(pattern) for pattern in ("\n", "\n  br "))
    return 2 if lines > LONG_RUN * branches else 1


@contextmanager
def compiler(target: Target) -> Iterator[Compiler]:
    """Return a compiler (LLVM pipeline and target machine) that no other thread uses meanwhile."""
    idle = _idle.setdefault(target.key, [])
    try:
        llvm = idle.pop()
    except IndexError:
        llvm = Compiler(target)
    yield llvm
    idle.append(llvm)  # not after an error


@functools.lru_cache(maxsize=1 << 8)
def symbol_of(key: str) -> str:
    """The entry name of a source: unique by its key."""
    return f"sg_v_{hashlib.blake2b(key.encode(), digest_size=12).hexdigest()}"


def compile_ir(text: str, symbol: str, target: Target, level: int | None = None) -> ObjectCode:
    """Compile an LLVM IR module with ``symbol`` and the attributes ``#0`` to an ELF object.

    ``level`` is LLVM's; None chooses it by the module.

    Raises:
        CompileError: LLVM refuses it.
        OutOfMemory: there may be too little memory for LLVM.
    """
    return begin_ir(text, symbol, target, level).result()


def begin_ir(
    text: str, symbol: str, target: Target, level: int | None = None
) -> LibraryCall[ObjectCode]:
    """Begin to compile an LLVM IR module in another thread; return a function for the result."""

    def compile_it() -> ObjectCode:
        headroom.require(headroom.COMPILE, "compiling a kernel")
        try:
            with compiler(target) as llvm:
                return ObjectCode(llvm.emit(text, level), symbol)
        except RuntimeError as error:
            raise CompileError("LLVM refused a kernel", details=[str(error)]) from error

    return begin(compile_it)


def module_text(source: KernelSource, host: Target) -> str:
    """The LLVM IR of a kernel, with the functions that it shares.

    Raises CompileError when the source is not in the kernel language.
    """
    modules = llvm_modules(source, host)
    return text_of(merge_modules([modules.kernel, *modules.shared.values()]))


def llvm_modules(source: KernelSource, host: Target) -> Modules:
    """Return the LLVM modules of a kernel and of its shared helper functions.

    Raises CompileError when the source is not in the kernel language.
    """
    from staticgrad.native.language import frontend
    from staticgrad.native.language.translation import KernelSourceError

    try:
        return frontend.modules(source.functions(), symbol_of(source.key), host)
    except KernelSourceError as error:
        raise CompileError(f"a kernel could not be compiled: {error}") from error


def as_text(source: KernelSource, form: Literal["llvm", "asm"], host: Target) -> str:
    """Return a kernel's optimised LLVM IR or its assembly for a target.

    The functions that it shares with other kernels stand behind it.
    """
    text = module_text(source, host)

    def print_module() -> str:
        with compiler(host) as llvm:
            if form == "llvm":
                return str(llvm.module(text))
            return llvm.assembly(text, level_of(text))

    return run_uninterrupted(print_module)
