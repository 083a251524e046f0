"""Numba set up for kernels: a target of its own beside Numba's ``cpu``.

Numba's bytecode analysis, type inference and lowering run unchanged, with typing and target
contexts that know the kernel language (:mod:`simd`). In place of Numba's code generation stands a
library that only collects the LLVM modules: passes, processor and features are those of
:mod:`jit`, whatever ``NUMBA_*`` variables say. No reference counting, no exceptions, no Python
wrappers. The user's own Numba functions keep their contexts. Importing this module imports Numba.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any, Final

from llvmlite import ir
from numba.core import callconv, cpu, dispatcher, errors
from numba.core.base import BaseContext
from numba.core.codegen import Codegen, CodeLibrary
from numba.core.descriptors import TargetDescriptor
from numba.core.target_extension import (
    CPU,
    dispatcher_registry,
    jit_registry,
    target_override,
    target_registry,
)
from numba.core.typing.context import Context

from staticgrad.native import target as targets
from staticgrad.native.by_numba import simd
from staticgrad.native.constants import OUTLINED, SHARED

NAME: Final = "staticgrad"

_FLAGS: Final = {
    "error_model": "numpy",
    "no_cpython_wrapper": True,
    "no_cfunc_wrapper": True,
    "forceinline": True,
    "nrt": False,
    "boundscheck": False,
    "debuginfo": False,
    "dbg_extend_lifetimes": False,
    "enable_pyobject": False,
    "enable_looplift": False,
    "enable_ssa": False,
}
"""Every flag that Numba would otherwise take from its settings, or that its default has on."""


class KernelTarget(CPU):
    """The token of the target in Numba; all that is registered for a CPU suits it."""


target_registry[NAME] = KernelTarget


class _TypingContext(Context):
    """Types of the language, of scalars, tuples and ranges, and of :mod:`math`."""

    def load_additional_registries(self) -> None:
        from numba.core.typing import cmathdecl, mathdecl

        self.install_registry(mathdecl.registry)
        self.install_registry(cmathdecl.registry)
        self.install_registry(_registries()[0])


@functools.cache
def _registries() -> tuple[Any, Any]:
    return simd.registries()


class _Library(CodeLibrary):
    """The LLVM modules of one function, and the libraries that it calls."""

    def __init__(self, codegen: Any, name: str) -> None:
        super().__init__(codegen, name)
        self.texts: list[str] = []
        self.called: list[_Library] = []

    def add_ir_module(self, ir_module: Any) -> None:
        for function in ir_module.functions:
            outlined = OUTLINED in function.name or SHARED in function.name
            if outlined and not function.is_declaration:
                function.attributes.discard("alwaysinline")
                function.attributes.add("noinline")
            if function.is_declaration:
                function.attributes.add("nonlazybind")
        self.texts.append("\n".join([str(ir_module), *ir_module.parts.values()]))

    def add_linking_library(self, library: _Library) -> None:
        self.called.append(library)

    def finalize(self) -> None:
        self._finalized = True

    def get_function(self, name: str) -> Any:
        raise KeyError(name)

    def get_llvm_str(self) -> str:
        return "\n".join(self.texts)

    def get_asm_str(self) -> str:
        return ""

    def enable_object_caching(self) -> None:
        """Objects are cached by :mod:`cache`."""

    def everything(self) -> Iterator[str]:
        """The modules of this function and of all that it calls, each once."""
        waiting, seen = [self], {self}
        while waiting:
            library = waiting.pop()
            yield from library.texts
            fresh = [other for other in dict.fromkeys(library.called) if other not in seen]
            seen.update(fresh)
            waiting += fresh


class _Module(ir.Module):
    """A module, with further parts as LLVM IR, and masks that are made of masks."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.parts: dict[str, str] = {}
        self.combined_masks: set[str] = set()


class _Codegen(Codegen):
    _library_class = _Library

    def __init__(self) -> None:
        plainest = targets.ladder()[-1]
        self._target_data = targets.machine(plainest).target_data
        self._triple, self._layout = plainest.triple, str(self._target_data)

    def _create_empty_module(self, name: str) -> Any:
        module = _Module(name)
        module.triple, module.data_layout = self._triple, self._layout
        return module

    def _add_module(self, module: Any) -> None:
        """Nothing is loaded here."""


class _TargetContext(BaseContext):
    """Lowers to LLVM modules, with calls that return a status and nothing else."""

    allow_dynamic_globals = True
    enable_boundscheck = property(lambda self: False, lambda self, value: None)

    def init(self) -> None:
        self.kernel_target = targets.ladder()[-1]
        self._codegen = _Codegen()
        self.data_model_manager = simd.data_models()

    def codegen(self) -> Any:
        return self._codegen

    @property
    def target_data(self) -> Any:
        return self._codegen.target_data

    @functools.cached_property
    def call_conv(self) -> Any:
        return callconv.MinimalCallConv(self)

    def create_module(self, name: str) -> Any:
        return self._codegen._create_empty_module(name)

    def load_additional_registries(self) -> None:
        from numba.core import optional  # noqa: F401  # registers casts
        from numba.cpython import (  # noqa: F401  # registers what Python's builtins lower to
            builtins,
            cmathimpl,
            enumimpl,
            iterators,
            mathimpl,
            numbers,
            rangeobj,
            slicing,
            tupleobj,
        )

        self.install_registry(mathimpl.registry)
        self.install_registry(cmathimpl.registry)
        self.install_registry(_registries()[1])

    def _refuse(self, *given: Any) -> None:
        raise errors.UnsupportedError("lists, sets and dicts need memory that kernels do not have")

    build_list = build_set = build_map = _refuse

    def declare_env_global(self, module: Any, envname: str) -> None:
        """Declare no Python environment: kernels do not call Python."""

    def post_lowering(self, mod: Any, library: Any) -> None:
        """Nothing is to be rewritten."""

    def get_executable(self, library: _Library, fndesc: Any, env: Any) -> _Library:
        """Return the library, which represents a compiled function in Numba's tables."""
        return library


class _Options(cpu.CPUTargetOptions):
    """The same flags for every function, whatever a decorator or a variable sets."""

    def finalize(self, flags: Any, options: Any) -> None:
        for name, value in _FLAGS.items():
            setattr(flags, name, value)


class _Descriptor(TargetDescriptor):
    options = _Options

    @functools.cached_property
    def typing_context(self) -> Any:
        return _TypingContext()

    @functools.cached_property
    def target_context(self) -> Any:
        return _TargetContext(self.typing_context, NAME)


class KernelFunction(dispatcher.Dispatcher):
    """A jitted function of a kernel source: compiled once for each choice of argument types."""

    targetdescr = _Descriptor(NAME)

    def __init__(self, function: Callable[..., Any], *args: Any, **options: Any) -> None:
        super().__init__(function, targetoptions={"nopython": True})

    def compile(self, sig: Any) -> Any:
        with target_override(NAME):
            return super().compile(sig)

    def add_overload(self, cres: Any) -> None:
        """Keeps the result; no Python call can reach it, so Numba's call table has no entry."""
        self.overloads[tuple(cres.signature.args)] = cres


def _jit(*args: Any, **options: Any) -> Any:
    """The decorator by which Numba compiles its own overloads for this target."""
    return KernelFunction(*args) if args else KernelFunction


dispatcher_registry[KernelTarget] = KernelFunction
jit_registry[KernelTarget] = _jit
