"""Commands beside the stages; `commands.py` lists all of them by name."""
