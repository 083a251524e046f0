"""``sg.errors``: the module ``staticgrad.support.errors``.

Written by ``python -m tests.exports`` from the tables of ``staticgrad/exports.py``.
"""

# ruff: noqa: I001
# fmt: off
import sys
from typing import TYPE_CHECKING

from staticgrad.support import errors as _module

if TYPE_CHECKING:
    from staticgrad.support.errors import (
        ArgumentError as ArgumentError, AxisError as AxisError, BudgetInfeasible as
        BudgetInfeasible, CODES as CODES, CPUError as CPUError, CallError as CallError, CarryError
        as CarryError, CheckError as CheckError, CompileError as CompileError, ConfigError as
        ConfigError, ConvergenceError as ConvergenceError, DTypeError as DTypeError,
        DeprecatedNameWarning as DeprecatedNameWarning, DisconnectedError as DisconnectedError,
        DistributedError as DistributedError, EmptyReductionError as EmptyReductionError,
        ExportError as ExportError, FeedDTypeError as FeedDTypeError, FeedError as FeedError,
        FeedShapeError as FeedShapeError, GradientError as GradientError, GraphError as GraphError,
        ImmutableError as ImmutableError, IndexOutOfRange as IndexOutOfRange, KernelAccessError as
        KernelAccessError, KernelCacheWarning as KernelCacheWarning, LargeConstantWarning as
        LargeConstantWarning, LinearAlgebraError as LinearAlgebraError, MaskedArrayError as
        MaskedArrayError, MeasurementError as MeasurementError, MissingFeedError as
        MissingFeedError, MissingPackageError as MissingPackageError, NameConflictError as
        NameConflictError, NonFiniteError as NonFiniteError, OpDefinitionError as OpDefinitionError,
        OutOfMemory as OutOfMemory, OutputArrayError as OutputArrayError, ParameterValueError as
        ParameterValueError, ParseError as ParseError, PassError as PassError, PassInterfaceError as
        PassInterfaceError, PassMismatchError as PassMismatchError, PassWarning as PassWarning,
        PipelineError as PipelineError, PluginWarning as PluginWarning, PolicyError as PolicyError,
        ProgramError as ProgramError, RankError as RankError, ReentryError as ReentryError,
        SavedFileError as SavedFileError, SelfTestError as SelfTestError, SettingWarning as
        SettingWarning, ShadowedPackageError as ShadowedPackageError, ShapeAsValueWarning as
        ShapeAsValueWarning, ShapeError as ShapeError, SizeGuardError as SizeGuardError,
        StaticgradError as StaticgradError, StaticgradWarning as StaticgradWarning,
        SymbolicValueError as SymbolicValueError, TapeError as TapeError, TracingWarning as
        TracingWarning, UnknownArgumentError as UnknownArgumentError, UnknownAttributeError as
        UnknownAttributeError, UnknownFeedError as UnknownFeedError, UnknownNameError as
        UnknownNameError, UnknownSettingError as UnknownSettingError, UnrunDrawWarning as
        UnrunDrawWarning, VerifyError as VerifyError
    )

sys.modules[__name__] = _module
