"""Kaggle for one user: credentials, the client of its API, downloads, submissions and their ledger."""
