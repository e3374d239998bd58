"""kagglepipe: an image competition from download to a checked submission."""

import os

__version__ = "0.3.0"

# Read by torch's OpenMP when torch is loaded, hence here. Threads that wait by spinning take the cores from whatever
# runs beside them, a second sweep job above all; threads that sleep cost nothing when the machine is free.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
