"""Errors that say what was wrong, in which file and slit, and what to do about it."""

from dataclasses import dataclass

from stpipe.exceptions import StpipeExitException

__all__ = ["IncompleteError", "InputError", "Problem", "not_written"]


MOST_SHOWN = 10
"""Number of problems that an error shows."""


class InputError(StpipeExitException, ValueError):
    """An input that cannot be used; the message says why and names the mend.

    ``strun`` shows the message alone and ends with exit status 1.

    Parameters
    ----------
    message : str
        What is wrong and what to do.
    file : str, optional
        Name of the file.
    slit : str, optional
        Name of the slit in that file.
    """

    def __init__(self, message, file=None, slit=None):
        self.problem = Problem(message, file, slit)
        super().__init__(1, str(self.problem))

    def __str__(self):
        return str(self.problem)


@dataclass(frozen=True)
class Problem:
    """Something that went wrong on the way and cost a part of the result.

    Parameters
    ----------
    message : str
        What is wrong and what to do.
    file : str, optional
        Name of the file.
    slit : str, optional
        Name of the slit in that file.
    """

    message: str
    file: str | None = None
    slit: str | None = None

    def __str__(self):
        where = [self.file or "", f"slit {self.slit}" if self.slit else ""]
        where = ", ".join(w for w in where if w)
        return f"{where}: {self.message}" if where else self.message


class IncompleteError(StpipeExitException):
    """Raised at the very end, when all that could be made was made and something is missing.

    ``strun`` ends with exit status 1.

    Parameters
    ----------
    problems : list of Problem
        What went wrong.
    result : object, optional
        What was made all the same.
    """

    def __init__(self, problems, result=None):
        self.problems = list(problems)
        self.result = result
        super().__init__(1, str(self))

    def __str__(self):
        shown = enumerate(self.problems[:MOST_SHOWN], 1)
        lines = "; ".join(f"({i}) {problem}" for i, problem in shown)
        more = len(self.problems) - MOST_SHOWN
        return f"a part of the result is missing: {lines}{f'; and {more} more' * (more > 0)}"


def not_written(name, err):
    """Say that a product cannot be written.

    Parameters
    ----------
    name : str
        Name of the product.
    err : OSError
        Why.

    Returns
    -------
    Problem
        That, and the mend.
    """
    return Problem(
        f"cannot be written ({err.strerror or err}); make room or choose another folder with "
        "--output_dir",
        name,
    )
