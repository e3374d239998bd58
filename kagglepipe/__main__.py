"""`python -m kagglepipe`."""

from kagglepipe.cli.main import main

if __name__ == "__main__":
    main()
