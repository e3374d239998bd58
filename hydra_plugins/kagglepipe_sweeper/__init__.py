"""Hydra sweeper behind `-m sweep=…`, on Optuna; a sweep that was killed continues. docs/sweeps.md gives the reasons."""
