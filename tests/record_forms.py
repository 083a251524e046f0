"""What ``staticgrad/record_forms.py`` has: the code of ``__init__`` of the package's records.

``python -m tests.record_forms`` writes it; a test compares each function with what would be
compiled without it. A form that is not there is compiled where a class first has it.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from staticgrad import records

PATH = Path(records.__file__).with_name("record_forms.py")
HEADER = '''"""Code of ``__init__`` by the forms of a record's fields: ``records`` gives names.

Written by ``python -m tests.record_forms`` for the classes of the package: ``g`` is a field that
is given, ``o`` one that is made where it is not, ``a`` one that is always made. ``_record_put``
and the other names that are not defined here are those of the class.
"""
'''


def forms() -> set[tuple[tuple[str, ...], str, bool]]:
    """The forms of all classes of the package, asked while its modules are loaded."""
    found = set()
    code: Callable[..., Any] = records._code

    def noted(*form: Any) -> Any:
        found.add(form)
        return code(*form)

    records._code = noted  # type: ignore[assignment]
    for package in ("staticgrad", "passes"):
        for each in pkgutil.walk_packages(importlib.import_module(package).__path__, f"{package}."):
            if not each.name.endswith("__main__"):
                importlib.import_module(each.name)
    return found


if __name__ == "__main__":
    each = sorted(forms(), key=lambda form: records.form_name(*form))
    functions = [records.form_text(records.form_name(*form), *form) for form in each]
    PATH.write_text("\n\n".join([HEADER, *functions]), "utf-8")
