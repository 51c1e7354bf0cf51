"""The command ``msa3d_asn``."""

import argparse
import shutil
import sys
from pathlib import Path

from msa3d_steps import __version__
from msa3d_steps.association.exposures import KINDS
from msa3d_steps.association.from_cube import rebuild
from msa3d_steps.association.report import BOTH, NONE, ONE, table
from msa3d_steps.association.sifting import Choice
from msa3d_steps.association.survey import scan
from msa3d_steps.association.writing import file_names, write
from msa3d_steps.errors import InputError

__all__ = ["main"]


DESCRIPTION = """\
Find the slit-stepping survey in a folder of NIRSpec MSA exposures (uncal, rate or cal files),
show its steps and dithers and what is missing, and write an association and a run file for it.
Only headers are read, and the files are left as they are.
"""
EPILOG = """\
examples:
  msa3d_asn rates                       what is in the folder rates, written to this folder
  strun jw02136-o001_nirspec_f100lp-g140h_msa3d.asdf       and its cubes

  msa3d_asn rates --dry-run             show the pattern, write nothing
  msa3d_asn rates -o cubes --sources=1345,8512
  msa3d_asn rates --grating=G140H --msa-id=3
  msa3d_asn night1 night2/*_cal.fits    folders and files
  msa3d_asn --from-cube x_s3d.fits cals the run file that made this cube
"""
PLAIN = str.maketrans({BOTH: "#", ONE["NRS1"]: "1", ONE["NRS2"]: "2", NONE: "."})
"""Marks for terminals that do not know the others."""


def main(arguments=None):
    """Run the command.

    Parameters
    ----------
    arguments : list of str or None
        Command-line arguments; those of the process if not given.

    Returns
    -------
    int
        Exit status.
    """
    parser = _parser()
    options = parser.parse_args(arguments)
    if not options.paths and not options.from_cube:
        parser.error("name folders of exposures, or files")
    try:
        if options.from_cube:
            return _run_from_cube(options)
        _run(options)
    except (InputError, OSError) as err:
        sys.stderr.write(f"msa3d_asn: {err}\n")
        return 1
    except KeyboardInterrupt:
        sys.stderr.write("msa3d_asn: stopped; nothing is half written\n")
        return 130
    return 0


def _parser():
    """Make the parser."""
    parser = argparse.ArgumentParser(
        "msa3d_asn", description=DESCRIPTION, epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("paths", nargs="*", metavar="FOLDER", help="folders of exposures, or files")
    parser.add_argument("--version", action="version", version=__version__)
    parser.add_argument(
        "--from-cube", metavar="CUBE", type=Path,
        help="write the association and the run file that made this cube, ..._s3d.fits, of its "
        "exposures in FOLDER (that of the cube, and this one)",
    )  # fmt: skip
    output = parser.add_argument_group("what is written")
    output.add_argument("-o", "--output", metavar="FOLDER", default=".", help="where to (.)")
    output.add_argument(
        "--product-name", metavar="NAME",
        help="beginning of the names of all products; {source_id} stands for the source "
        "(jwPPPPP-oOOO_{source_id}_nirspec_FILTER-GRATING)",
    )  # fmt: skip
    output.add_argument(
        "--sources", metavar="LIST", type=_list_of(str), default=[],
        help="numbers, names or labels of the sources to make cubes of, with commas (all)",
    )  # fmt: skip
    output.add_argument("--overwrite", action="store_true", help="replace files that are there")
    output.add_argument("-n", "--dry-run", action="store_true", help="show only, write nothing")
    choice = parser.add_argument_group("what is taken, where there is more than one survey")
    choice.add_argument("--kind", choices=KINDS, help="files to start from (the most complete)")
    choice.add_argument("--grating", metavar="NAME", help="as in G140H or G140H/F100LP")
    choice.add_argument(
        "--msa-id", metavar="LIST", type=_list_of(int), default=[],
        help="MSA configuration, header keyword MSAMETID; several, with commas, if the same "
        "shutters are open in them",
    )  # fmt: skip
    choice.add_argument(
        "--msa-metafile", metavar="FILE", type=Path,
        help="MSA metafile to use (that which the exposures name, in one of the folders)",
    )  # fmt: skip
    return parser


def _list_of(kind):
    """Make a reader of values with commas."""

    def read(text):
        return [kind(part.strip()) for part in text.split(",") if part.strip()]

    read.__name__ = f"list of {kind.__name__}"  # argparse words its errors with it
    return read


def _run(options):
    """Find, show and write."""
    choice = Choice(
        kind=options.kind,
        grating=options.grating,
        msa_ids=tuple(options.msa_id),
        metafile=options.msa_metafile,
        product=options.product_name,
    )
    survey = scan(options.paths, choice)
    survey.select(options.sources)
    _show(table(survey, shutil.get_terminal_size((100, 24)).columns))
    if options.dry_run:
        names = file_names(survey, options.output)
        _show(f"\nnot written (--dry-run): {names[0]}, {names[1].name}")
        return
    association, run_file = write(
        survey, options.output, options.sources, overwrite=options.overwrite
    )
    _show(f"\nassociation  {association}\nrun file     {run_file}\nnext         strun {run_file}")


def _run_from_cube(options):
    """Find out how a cube was made, and write it down; exit status 1 where files are missing."""
    found = rebuild(options.from_cube, options.paths)
    _show(found.summary())
    if options.dry_run:
        names = found.names(options.output)
        _show(f"\nnot written (--dry-run): {names[0]}, {names[1].name}")
    else:
        association, run_file = found.write(options.output, options.overwrite)
        command = found.command(run_file, association)
        _show(f"\nassociation  {association}\nrun file     {run_file}\nnext         {command}")
    return 1 if found.missing else 0


def _show(text):
    """Write text, with plain marks where the terminal does not know the others."""
    try:
        text.encode(sys.stdout.encoding or "ascii")
    except UnicodeEncodeError:
        text = text.translate(PLAIN)
    sys.stdout.write(f"{text}\n")


if __name__ == "__main__":
    sys.exit(main())
