"""The command line: its commands, the demo, and what an installation is asked."""

from staticgrad.errors.tracebacks import refuse_shadowed_passes

refuse_shadowed_passes()
