"""The exception that is shown without a traceback."""


class UserError(Exception):
    """An error that the user can fix.

    Its message is one line: the fault, the need, the command to type next. The command line prints it and exits
    with code 2; other exceptions keep their traceback.
    """
