"""The one exception class users are meant to see.

Its message is one line that names the argument, the rule, the value received and the way out.
Workflow scripts print it without a traceback; anything else is a bug and keeps its traceback.
"""


class ArtRLError(ValueError):
    """Bad input: a config value, a file or an argument that breaks a stated rule."""
