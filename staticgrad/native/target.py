"""The processor that kernels are compiled for: name, features, vector width, chosen explicitly.

Nothing is inherited from Numba's settings or LLVM's defaults: LLVM miscompiles some 512-bit mask
code, so every choice is one of a short ladder of targets, and the self-test
(``loader.host``) decides how far down the ladder this machine must go.
llvmlite is imported on first use only.
"""

from __future__ import annotations

import ctypes
import functools
import sys
from typing import Any, Final

from staticgrad.errors import CompileError, CPUError
from staticgrad.native.headroom import LLVM, require
from staticgrad.support.records import dataclass

_REQUIRED_X86: Final = ("avx2", "fma", "bmi", "bmi2", "f16c", "lzcnt", "movbe", "popcnt")
#: How the names of processors of 256 bits begin whose masked stores of words are fast.
_MASKED_WORDS: Final = (
    "haswell", "broadwell", "skylake", "alderlake", "raptorlake", "arrowlake", "lunarlake",
    "meteorlake", "gracemont", "sierraforest", "grandridge", "pantherlake", "clearwaterforest",
)  # fmt: skip
#: The features that x86-64-v3 has, as LLVM calls them: code for it runs on any processor that has
#: these (System V ABI, AMD64 supplement, "micro-architecture levels").
_PORTABLE: Final = frozenset({
    *_REQUIRED_X86, "64bit", "avx", "cmov", "crc32", "cx16", "cx8", "fxsr", "mmx", "sahf", "sse",
    "sse2", "sse3", "sse4.1", "sse4.2", "ssse3", "x87", "xsave",
})  # fmt: skip
#: How the names of processors begin that multiply pairs of bfloat16 faster than by FMAs.
_FAST_PAIRS: Final = ("znver",)
_WIDE: Final = ("avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl")


@dataclass(frozen=True)
class Target:
    """The target of generated code: an LLVM triple, CPU name and feature string.

    ``vector_bits`` is the width of a register (512, 256 or 128); ``level`` is the rung of the
    ladder, 0 the fastest.
    """

    triple: str
    cpu: str
    features: str
    vector_bits: int
    level: int

    @property
    def is_x86(self) -> bool:
        """True for x86-64."""
        return self.triple.startswith("x86_64")

    @property
    def has_mask_registers(self) -> bool:
        """True if masks of lanes have their own registers."""
        return self.vector_bits >= 512

    @property
    def has_dot2_bf16(self) -> bool:
        """True if one instruction multiplies and adds pairs of bfloat16 (AVX512-BF16)."""
        return self.vector_bits >= 512 and "+avx512bf16" in self.features.split(",")

    @property
    def multiplies_pairs(self) -> bool:
        """True if that instruction takes less time than two FMAs.

        A product of 512 x 512 x 512: 1.7 times the speed of float32 on Zen 4, half of it on Emerald
        Rapids, whose unit takes one in two cycles.
        """
        return self.has_dot2_bf16 and self.cpu.startswith(_FAST_PAIRS)

    @property
    def has_dot4_i8(self) -> bool:
        """True if one instruction multiplies and adds words of bytes (AVX512-VNNI, AVX-VNNI)."""
        features = self.features.split(",")
        return "+avxvnni" in features or (self.vector_bits >= 512 and "+avx512vnni" in features)

    @property
    def stores_masked_words(self) -> bool:
        """True if masked stores of 32 and 64 bits are as fast as others."""
        return self.has_mask_registers or self.cpu.startswith(_MASKED_WORDS)

    @property
    def key(self) -> str:
        """The text by which cached code is found."""
        return f"{self.triple}|{self.cpu}|{self.features}|{self.vector_bits}"


def format_target(target: Target) -> str:
    """Return a target as a line of text."""
    return f"{target.key}|{target.level}"


def read(line: str) -> Target:
    """Return the target that a line describes."""
    triple, cpu, features, vector_bits, level = line.split("|")
    return Target(triple, cpu, features, int(vector_bits), int(level))


@functools.cache
def binding() -> Any:
    """Return ``llvmlite.binding``, with LLVM's native target initialized.

    Raises OutOfMemory where there is too little for its library, CompileError where it cannot be
    loaded for another reason.
    """
    if "llvmlite.binding" not in sys.modules:
        require(LLVM, "loading LLVM")
    try:
        import llvmlite.binding as llvm
    except OSError as error:
        raise CompileError("llvmlite's library cannot be loaded", details=[str(error)]) from error

    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    return llvm


@functools.cache
def ladder() -> tuple[Target, ...]:
    """Return the targets that LLVM may compile for on this machine, fastest first.

    Raises CPUError below x86-64-v3 (AVX2 and FMA) and on anything but x86-64 and aarch64.
    """
    llvm = binding()
    triple = str(llvm.get_process_triple())
    machine, _, system = triple.partition("-")
    if "linux" not in system and not system.endswith("elf"):
        triple += "-elf"
    features = dict(llvm.get_host_cpu_features())
    name = str(llvm.get_host_cpu_name())
    if machine in ("x86_64", "amd64"):
        return _x86_ladder(triple, name, features)
    if machine in ("aarch64", "arm64"):
        return (Target(triple, name, _join_features(features), 128, 0),)
    raise CPUError(
        f"staticgrad compiles for x86-64 and aarch64, not for {machine}",
        hint="set STATICGRAD_JIT=0 to run kernels as plain Python",
    )


def _x86_ladder(triple: str, name: str, features: dict[str, bool]) -> tuple[Target, ...]:
    """Return the x86 targets, fastest first: AVX-512, without avx512dq, and x86-64-v3."""
    missing = [feature for feature in _REQUIRED_X86 if not features.get(feature)]
    if missing:
        raise CPUError(
            f"this processor ({name}) has no {', '.join(missing)}; staticgrad needs x86-64-v3",
            hint="set STATICGRAD_JIT=0 to run kernels as plain Python",
        )
    narrow = {key: on and not key.startswith(("avx512", "avx10")) for key, on in features.items()}
    portable = {key: on and key in _PORTABLE for key, on in features.items()}
    safe = Target(triple, "x86-64-v3", _join_features(portable), 256, 2)
    if not all(features.get(feature) for feature in _WIDE):
        return (Target(triple, name, _join_features(narrow), 256, 0), safe)
    wide = {**features, "prefer-256-bit": False}
    careful = {**wide, "avx512dq": False}
    return (
        Target(triple, name, _join_features(wide), 512, 0),
        Target(triple, name, _join_features(careful), 512, 1),
        safe,
    )


def _join_features(features: dict[str, bool]) -> str:
    return ",".join(f"{'+' if on else '-'}{name}" for name, on in sorted(features.items()))


def machine(target: Target, level: int = 2) -> Any:
    """Make a new llvmlite TargetMachine for a target (an engine owns its machine).

    ``level`` is LLVM's for the code that it generates.
    """
    return (
        binding()
        .Target.from_triple(target.triple)
        .create_target_machine(
            cpu=target.cpu,
            features=target.features,
            opt=level,
            reloc="pic",
            codemodel="small",
        )
    )


def emit_object(machine: Any, module: Any) -> bytes:
    """Emit the ELF object of an LLVM module, as ``machine.emit_object``.

    llvmlite lets one thread at a time into LLVM. LLVM itself may emit modules of several contexts
    at once, so this call goes past that lock.
    """
    ffi = binding().ffi
    with ffi.OutputString() as message:
        buffer = _emit()(machine, module, 1, message)
        if not buffer:
            raise RuntimeError(str(message))
    try:
        start, size = ffi.lib.LLVMPY_GetBufferStart(buffer), ffi.lib.LLVMPY_GetBufferSize(buffer)
        return ctypes.string_at(start, size)
    finally:
        ffi.lib.LLVMPY_DisposeMemoryBuffer(buffer)


@functools.cache
def _emit() -> Any:
    """LLVM's function that emits a module, as llvmlite declares it, without llvmlite's lock."""
    library = binding().ffi.lib
    declared = library.LLVMPY_TargetMachineEmitToMemory
    function = ctypes.CDLL(library._name).LLVMPY_TargetMachineEmitToMemory
    function.argtypes, function.restype = declared.argtypes, declared.restype
    return function
