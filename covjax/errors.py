"""The one exception that bad input raises; commands print it as one line."""


class InputError(ValueError):
    """Input that covjax cannot use: a setting, a file, a name, a shape.

    The message is one line that names the argument or file, the value found and
    what is allowed. Commands print it without a traceback and exit with status 2.
    """
