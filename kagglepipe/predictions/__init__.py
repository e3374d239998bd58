"""Predictions as frames, their metrics, ensembles and submissions; without torch."""
