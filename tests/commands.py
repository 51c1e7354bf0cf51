"""Commands, called in the process of the tests: to start one takes longer than what it does."""

import sys

import pytest
from stpipe._cli.strun import main


def strun_here(*arguments):
    """Do what the command strun does; returns its exit status.

    What it says goes to ``sys.stdout`` and ``sys.stderr``.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["strun", *map(str, arguments)])
        try:
            main()
        except SystemExit as end:
            return end.code
    return 0
