"""``sg.checkpoint_policies``: the module ``staticgrad.language.functions.checkpoints.policies``.

Written by ``python -m tests.exports`` from the tables of ``staticgrad/exports.py``.
"""

# ruff: noqa: I001
# fmt: off
import sys
from typing import TYPE_CHECKING

from staticgrad.language.functions.checkpoints import policies as _module

if TYPE_CHECKING:
    from staticgrad.language.functions.checkpoints.policies import (
        dots_saveable as dots_saveable, dots_with_no_batch_dims_saveable as
        dots_with_no_batch_dims_saveable, everything_saveable as everything_saveable,
        nothing_saveable as nothing_saveable, save_from_both_policies as save_from_both_policies,
        save_only_these_names as save_only_these_names
    )

sys.modules[__name__] = _module
