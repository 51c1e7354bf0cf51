"""Words for messages."""

__all__ = ["counted"]


def counted(number, noun):
    """Put a number before a noun, which gets an s unless it is one.

    Parameters
    ----------
    number : int
        The number.
    noun : str
        The noun, in the singular.

    Returns
    -------
    str
        ``1 step``, ``3 steps``.
    """
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
