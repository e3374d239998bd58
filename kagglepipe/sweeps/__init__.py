"""Hyperparameter sweeps on Optuna: search spaces, trials in a journal, finals over seeds, tables.

Knows neither Hydra nor the configuration: `hydra_plugins/kagglepipe_sweeper` parses the command line and launches jobs.
Optuna (`pip install 'kagglepipe[sweep]'`) is imported only when a sweep runs.
"""
