"""The command line: words and help, Hydra's configuration, and errors in one line."""
