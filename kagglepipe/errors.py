"""The one exception that is shown to people without a traceback."""


class UserError(Exception):
    """Something that the user can mend.

    The message is one line: what was found, what was needed, and what to type next. `__main__` prints it and
    exits with code 2; every other exception keeps its traceback.
    """
