"""Runs on disk: what decides their names, what lies in their folders, which of them is best."""
