"""The public functions of settings: a block with others, and what holds here, as a text.

>>> from staticgrad.support.config import current
>>> with options(debug="nan"):
...     current().debug
'nan'
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager

from staticgrad.errors.tracebacks import boundary
from staticgrad.support.config import BLOCKS, Config, current, read_setting, settings
from staticgrad.support.contexts import Block


@boundary
def options(**settings: object) -> AbstractContextManager[Config]:
    """Settings for the code of one block: ``with sg.options(debug=True): ...``.

    Blocks nest; threads started inside do not inherit. Raises ConfigError for a wrong value and
    UnknownSettingError for a wrong name.

    Args:
        settings: names and values of settings; ``sg.show_config()`` lists them.

    Returns:
        What ``with`` enters; outside of it the settings are as before.

    Raises:
        ConfigError: a value that the setting does not take. UnknownSettingError: no such setting.

    >>> import staticgrad as sg
    >>> with sg.options(threads=1):
    ...     sg.compile(sg.input("x", ()) + 1.0).run({"x": 1.0})
    array(2., dtype=float32)
    """
    values = {n: read_setting(n, raw, f"options({n}=...)") for n, raw in settings.items()}
    return _OptionsBlock(BLOCKS, values)


class _OptionsBlock(Block[Mapping[str, object]]):
    def __enter__(self) -> Config:
        super().__enter__()
        return current()


@boundary
def show_config() -> str:
    """One line per setting: its value, where that came from, what it does.

    >>> print(show_config().splitlines()[0].split()[0])
    jit
    """
    rows = [(str(setting), setting.meaning) for setting in settings()]
    width = max(len(shown) for shown, _ in rows)
    return "\n".join(f"{shown:<{width}}  {meaning}" for shown, meaning in rows)
