"""Segments of videos and series: labels of frames, post-processing of probabilities, metrics."""
