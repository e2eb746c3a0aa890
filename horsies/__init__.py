"""horsies: a PostgreSQL-backed task queue with types that hold end to end and errors as values.

What there is to import stands in ``__init__.pyi``, one name a line, as type checkers read it. Names are imported from
their modules at first use: who needs a few, such as the command line for its help, does not pay for the database's
driver.
"""

import inspect
from importlib import import_module
from pathlib import Path

_LINES = Path(__file__).with_suffix(".pyi").read_text().splitlines()
_MODULES = {name: module for _from, module, _import, name, *_ in map(str.split, _LINES)}
globals()["__all__"] = sorted(_MODULES, key=lambda name: (not name.isupper(), name[0] != name[0].upper(), name))


def __getattr__(name: str) -> object:
    if name not in _MODULES:
        raise _unknown(name)
    value = globals()[name] = getattr(import_module(_MODULES[name]), name)
    return value


def _unknown(name: str) -> Exception:
    """The error for a name that is not here, with its replacement if the packages 0.x had it.

    ``from horsies import …`` hides the message of an AttributeError, but not that of an ImportError. ``hasattr`` and
    ``getattr`` with a default need an AttributeError. Python's own import system asks first.
    """
    replacement = import_module("horsies.predecessor").REMOVED_NAMES.get(name)
    if replacement is None:
        return AttributeError(f"module {__name__!r} has no attribute {name!r}")
    msg = f"{name!r} of the horsies packages 0.x was removed: {replacement}"
    caller = inspect.stack(context=0)[2].frame
    is_import = caller.f_globals.get("__name__") == "importlib._bootstrap"
    return ImportError(msg, name=__name__) if is_import else AttributeError(msg)


def __dir__() -> list[str]:
    return sorted({*globals(), *_MODULES})
