"""Trying many configurations: what may be tried, what was tried and how it went, and what comes of it.

Knows neither Hydra nor the configuration: `hydra_plugins/kagglepipe_sweeper` reads the command line and starts jobs.
Optuna (`pip install 'kagglepipe[sweep]'`) is imported when a sweep runs, and never before.
"""
