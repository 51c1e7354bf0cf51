"""The command ``msa3d_simulate``."""

import argparse
import dataclasses
import logging
import sys
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

from stcal.multiprocessing import compute_num_cores

from msa3d_steps import __version__
from msa3d_steps.errors import InputError
from msa3d_steps.progress import Bar
from msa3d_steps.simulate.config import Survey, read_survey

__all__ = ["main"]

log = logging.getLogger("msa3d_simulate")

DESCRIPTION = """\
Simulate a JWST NIRSpec MSA slit-stepping survey of galaxies whose every photon is known, through
NIRSpec's own optics, and write it as the ground system would: exposures, MSA metafile,
association, run file, a local CRDS cache, and the truth.
"""
EPILOG = """\
examples:
  msa3d_simulate my_survey                            a small survey at cal level
  strun my_survey/msa3d_cube.asdf                     its cubes
  msa3d_simulate my_survey --level=both --steps=9 --dithers=7 --dither=0.075 --n-sources=10
  msa3d_simulate --plan --steps=9 --dithers=7         coverage and exposure times, no data
  msa3d_simulate --config=survey.toml my_survey       options in a file, sources one by one
  msa3d_simulate my_survey --truth-for jw*_s3d.fits   noise-free cubes on the grids of cubes

A run that was stopped goes on when the same command is given again.
"""


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
    _set_up_log(options.verbose, options.quiet)
    try:
        survey = _survey(options)
        if options.plan:
            _plan(survey, options)
        elif not options.folder:
            parser.error("name a folder for the survey, or give --plan")
        elif options.truth_for:
            _truth(options)
        else:
            _simulate(survey, options)
    except (InputError, OSError) as err:
        log.error("%s", err)  # noqa: TRY400 - the message is for the user
        return 1
    except BrokenProcessPool:
        log.error(  # noqa: TRY400
            "a process ended too early (out of memory?); give the same command again to go on, "
            "with --maximum-cores=1 if need be"
        )
        return 1
    except KeyboardInterrupt:
        log.error("stopped; give the same command again to go on")  # noqa: TRY400
        return 130
    return 0


def _parser():
    """Make the parser; the options of the survey come from its attributes."""
    parser = argparse.ArgumentParser(
        "msa3d_simulate", description=DESCRIPTION, epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("folder", nargs="?", help="where to write the survey")
    parser.add_argument("--version", action="version", version=__version__)
    parser.add_argument("--config", metavar="FILE", help="survey file (TOML); options override it")
    parser.add_argument(
        "--maximum-cores", default="half", metavar="N",
        help="processes: none, quarter, half, all or a number (half)",
    )  # fmt: skip
    parser.add_argument("-v", "--verbose", action="store_true", help="log what jwst says, too")
    parser.add_argument("-q", "--quiet", action="store_true", help="log problems only")
    other = parser.add_argument_group("other things to do")
    other.add_argument(
        "--plan", nargs="?", const="plan.png", metavar="PNG",
        help="draw and tabulate coverage and exposure times, make no data (plan.png)",
    )  # fmt: skip
    other.add_argument(
        "--truth-for", nargs="+", metavar="CUBE",
        help="write noise-free cubes of the survey in the folder, on the grids of cubes",
    )  # fmt: skip
    group = parser.add_argument_group("survey")
    for field in dataclasses.fields(Survey):
        if field.name != "sources":
            _add_option(group, field)
    return parser


def _add_option(group, field):
    """Add an attribute of the survey to the options."""
    name = "--" + field.name.replace("_", "-")
    text = field.metadata["help"]
    if isinstance(field.default, bool):
        group.add_argument(
            name, default=None, action=argparse.BooleanOptionalAction,
            help=f"{text} ({'yes' if field.default else 'no'})",
        )  # fmt: skip
        return
    choices = field.metadata.get("choices")
    group.add_argument(
        name, default=None, type=type(field.default), choices=choices,
        metavar=None if choices else type(field.default).__name__.upper(),
        help=f"{text} ({field.default})",
    )  # fmt: skip


def _set_up_log(verbose, quiet):
    """Show our own lines as they are; those of jwst where asked for."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(message)s"))
    level = logging.WARNING if quiet else logging.INFO
    for name in ("msa3d_simulate", "msa3d_steps"):
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [handler], False
        logger.setLevel(level)
    root = logging.getLogger()
    root.setLevel(logging.INFO if verbose else logging.CRITICAL + 1)
    if verbose:
        root.addHandler(handler)


def _survey(options):
    """Make the survey out of file and options."""
    names = [f.name for f in dataclasses.fields(Survey) if f.name != "sources"]
    given = {n: getattr(options, n) for n in names if getattr(options, n) is not None}
    return read_survey(options.config, **given) if options.config else Survey(**given)


def _simulate(survey, options):
    """Write the survey and say what was written."""
    import multiprocessing

    from msa3d_steps.simulate.survey import write_survey

    wanted = str(options.maximum_cores)
    if wanted not in ("none", "quarter", "half", "all") and not (
        wanted.isdecimal() and int(wanted) > 0
    ):
        raise InputError(
            f"--maximum-cores is {wanted}; it must be none, quarter, half, all or a number"
        )
    cores = compute_num_cores(
        options.maximum_cores, survey.n_exposures * 2, multiprocessing.cpu_count()
    )
    log.info(
        "%s/%s, %d source(s), %d steps of %g arcsec x %d dithers of %g arcsec, %g s each",
        survey.grating, survey.filter, survey.n_sources, survey.steps, survey.step,
        survey.dithers, survey.dither, survey.exposure_time,
    )  # fmt: skip
    log.info("laying the slitlets out (%d process(es))", cores)
    with _Progress() as progress:
        products = write_survey(survey, options.folder, cores, progress)
    log.info("survey      %s", products.folder)
    log.info("truth       %s", products.truth)
    log.info("references  export CRDS_PATH=%s", products.references)
    log.info("            export CRDS_SERVER_URL=https://jwst-serverless-mode.stsci.edu")
    if survey.level != "rate":
        log.info("cubes       strun %s", products.run_file)


class _Progress:
    """A bar on a terminal; elsewhere a line each tenth of the way."""

    def __init__(self):
        self.bar, self.tenth = None, -1

    def __enter__(self):
        return self

    def __exit__(self, *error):
        if self.bar is not None:
            self.bar.__exit__(*error)

    def __call__(self, done, total):
        if self.bar is None:
            self.bar = Bar("exposures", total, done - 1).__enter__()
        self.bar.step()
        if not self.bar.is_shown and done * 10 // total > self.tenth:
            self.tenth = done * 10 // total
            log.info("%d of %d exposures", done, total)


def _plan(survey, options):
    """Draw and tabulate the pattern."""
    from msa3d_steps.simulate.plan.plan import draw_plan, make_plan, tabulate

    plan = make_plan(survey)
    path = draw_plan(plan, Path(options.plan))
    sys.stdout.write(f"{tabulate(plan)}\n\npicture  {path}\n")


def _truth(options):
    """Write noise-free cubes on the grids of cubes."""
    from msa3d_steps.simulate.scene.truth_files import write_truth_cube

    for cube in options.truth_for:
        log.info("%s", write_truth_cube(options.folder, cube))
