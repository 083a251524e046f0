"""Kernel source or LLVM IR text -> machine code as an ELF object, for an explicit target.

The pass pipeline is short on purpose: kernels are written with explicit vectors, so nothing is
left for an auto-vectoriser, and the vectorisers are what miscompiles. One lock covers compilation;
LLVM contexts and target machines are made once per target.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from staticgrad.errors import CompileError
from staticgrad.native import target as targets
from staticgrad.native.lock import LOCK
from staticgrad.native.target import Target

if TYPE_CHECKING:
    from staticgrad.native.frontend import Backend

_compilers: dict[str, _Compiler] = {}


@dataclass(frozen=True)
class ObjectCode:
    """Machine code: a relocatable ELF object and the name of its entry."""

    elf: bytes
    symbol: str


class _Compiler:
    """LLVM set up for one target."""

    def __init__(self, target: Target) -> None:
        self.llvm = targets.binding()
        self.machine = targets.machine(target)
        self.layout = str(self.machine.target_data)
        self.target = target
        options = self.llvm.create_pipeline_tuning_options(speed_level=1)
        options.loop_vectorization = False
        options.slp_vectorization = False
        options.loop_unrolling = False
        self.builder = self.llvm.create_pass_builder(self.machine, options)

    def attributes(self) -> str:
        return f'attributes #0 = {{ nounwind "prefer-vector-width"="{self.target.vector_bits}" }}'

    def passes(self) -> Any:
        manager = self.llvm.create_new_module_pass_manager()
        manager.add_always_inliner_pass()
        manager.add_sroa_pass()
        manager.add_instruction_combine_pass()
        manager.add_simplify_cfg_pass()
        return manager

    def emit(self, text: str) -> bytes:
        header = f'target datalayout = "{self.layout}"\ntarget triple = "{self.target.triple}"\n'
        module = self.llvm.parse_assembly(f"{header}{text}\n{self.attributes()}\n")
        module.verify()
        self.passes().run(module, self.builder)
        return bytes(self.machine.emit_object(module))

    def assembly(self, text: str) -> str:
        header = f'target datalayout = "{self.layout}"\ntarget triple = "{self.target.triple}"\n'
        module = self.llvm.parse_assembly(f"{header}{text}\n{self.attributes()}\n")
        self.passes().run(module, self.builder)
        return str(self.machine.emit_assembly(module))


def _compiler(target: Target) -> _Compiler:
    found = _compilers.get(target.key)
    if found is None:
        found = _compilers[target.key] = _Compiler(target)
    return found


def symbol_of(source: str, backend: Backend) -> str:
    """The entry name of a source: unique by content and reader."""
    return f"sg_{backend[0]}_{hashlib.blake2b(source.encode(), digest_size=12).hexdigest()}"


def compile_ir(text: str, symbol: str, target: Target) -> ObjectCode:
    """Compiles LLVM IR text (functions and declarations only, attributes ``#0``)."""
    with LOCK:
        try:
            return ObjectCode(_compiler(target).emit(text), symbol)
        except RuntimeError as error:
            raise CompileError("LLVM refused a kernel", details=[str(error)]) from error


def compile_source(
    source: str, target: Target | None = None, backend: Backend = "vector"
) -> ObjectCode:
    """Compiles a kernel's source text, read by Numba or directly (``vector``).

    Raises CompileError when the source is not in the kernel language.
    """
    from staticgrad.native import frontend, lowering

    symbol = symbol_of(source, backend)
    with LOCK:
        try:
            text = frontend.module_text(source, symbol, backend)
        except lowering.KernelSourceError as error:
            raise CompileError(f"a kernel could not be compiled: {error}") from error
        return compile_ir(text, symbol, target or targets.host())


def assembly(source: str, target: Target | None = None, backend: Backend = "vector") -> str:
    """The machine code of a kernel's source as assembly text, for reading."""
    from staticgrad.native import frontend

    with LOCK:
        text = frontend.module_text(source, symbol_of(source, backend), backend)
        return _compiler(target or targets.host()).assembly(text)
