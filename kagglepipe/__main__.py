"""`python -m kagglepipe`."""

from kagglepipe.memory import without_garbage_collection

with without_garbage_collection():
    from kagglepipe.cli.main import main

if __name__ == "__main__":
    main()
