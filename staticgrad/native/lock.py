"""The one lock of native compilation, held across a fork so that no child starts mid-compile.

LLVM has one process-wide lock of its own, so a single reentrant lock costs no parallelism, and
it leaves no order of locks to get wrong.
"""

from __future__ import annotations

import os
import threading
from typing import Final

LOCK: Final = threading.RLock()

if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=LOCK.acquire, after_in_parent=LOCK.release, after_in_child=LOCK.release
    )
