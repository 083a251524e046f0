"""The state while a program is built: traces, the user's line, updates of modules."""

from staticgrad.functions.evaluation_modes import note_module_call, warn_of_evaluation
from staticgrad.functions.streams import GENERATORS, Stream
from staticgrad.functions.unrun_draws import note_draw
from staticgrad.language.calls.execution import computing, computing_kind, in_graphs
from staticgrad.language.ir.nodes import (
    ModuleCall,
    Session,
    check_updates,
    collect_updates,
    next_serial,
    running_session,
    traced_in,
)
from staticgrad.support.building import (
    capture,
    count_as_user,
    current,
    is_package_file,
    is_user_file,
    within,
)
from staticgrad.support.source import Location, Origin, SourceLine

# fmt: off
__all__ = [
    "capture", "check_updates", "collect_updates", "computing", "computing_kind",
    "count_as_user", "current", "GENERATORS", "in_graphs", "is_package_file", "is_user_file",
    "Location", "ModuleCall", "next_serial", "note_draw", "note_module_call", "Origin",
    "running_session", "Session", "SourceLine", "Stream", "traced_in", "warn_of_evaluation",
    "within",
]
# fmt: on
