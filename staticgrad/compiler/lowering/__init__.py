"""From one fusion group to one kernel: its operands and loops, then the stages of its kind."""

from staticgrad.errors.tracebacks import refuse_shadowed_passes

refuse_shadowed_passes()
