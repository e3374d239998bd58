"""kagglepipe: an image competition from download to a checked submission."""

__version__ = "0.1.0"
