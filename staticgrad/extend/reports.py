"""Analyses and reports of graphs, plans and compiled programs."""

from staticgrad.analysis.cost import plan_seconds
from staticgrad.analysis.liveness import ValueKey, users_of
from staticgrad.analysis.pass_report import Report
from staticgrad.analysis.plan_check import largest_at_peak
from staticgrad.analysis.work import work_of
from staticgrad.compiler.compiling.artifacts import CompiledKernel
from staticgrad.compiler.compiling.tradeoffs import tradeoff
from staticgrad.compiler.reports.explain import dead_nodes
from staticgrad.compiler.reports.pictures import passes_table, runners
from staticgrad.compiler.reports.profiling import live_bytes
from staticgrad.language.ir.plan import Plan, columns_of_steps, plan_picture
from staticgrad.language.ir.ranges import ANY, Range, Zero, skip_moves
from staticgrad.language.pictures import GraphDrawing, Runner

# fmt: off
__all__ = [
    "ANY", "columns_of_steps", "CompiledKernel", "dead_nodes", "GraphDrawing",
    "largest_at_peak", "live_bytes", "passes_table", "Plan", "plan_picture", "plan_seconds",
    "Range", "Report", "Runner", "runners", "skip_moves", "tradeoff", "users_of", "ValueKey",
    "work_of", "Zero",
]
# fmt: on
