"""Fitting: the head, the network, and what is kept of them."""
