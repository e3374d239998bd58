"""kagglepipe: a competition on images, videos, series or sounds, from download to a checked submission."""

import os

__version__ = "0.3.0"
__all__ = ["Run", "UserError", "blend", "list_runs", "load", "submit", "train"]  # of api.py; types: __init__.pyi

# Read by torch's OpenMP when torch is loaded, hence here. Threads that wait by spinning take the cores from whatever
# runs beside them, a second sweep job above all; threads that sleep cost nothing when the machine is free.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def __getattr__(name: str) -> object:
    """Import the Python interface when it is first used: every command passes through this file."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module("kagglepipe.api"), name)
