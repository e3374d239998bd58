"""Segments of videos and series: post-processing of probabilities, matching with the truth, metrics."""
