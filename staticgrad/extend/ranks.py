"""Ranks of an MPI job, and ops that exchange values between them."""

from staticgrad.language.ops.collective import Rows, gather, means, parts, parts_of_means, rows_of
from staticgrad.language.ops.mean_losses import check_mean
from staticgrad.support.ranks import TIMEOUT, Job, digest, job, note_draw, on_first, running

# fmt: off
__all__ = [
    "check_mean", "digest", "gather", "Job", "job", "means", "note_draw", "on_first", "parts",
    "parts_of_means", "Rows", "rows_of", "running", "TIMEOUT",
]
# fmt: on
