"""Runs on disk: identities and names, folders, scores, selection."""
