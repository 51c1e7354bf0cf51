"""One call from a list of files to cubes."""

import logging

from msa3d_steps.association import Choice, scan, table, write
from msa3d_steps.pipelines.spec3 import MSA3DSpec3Pipeline
from msa3d_steps.pipelines.survey import MSA3DPipeline

__all__ = ["run"]

log = logging.getLogger(__name__)


def run(data_entries, msa_path=None, output_dir=".", product_name=None, sources=(), **parameters):
    """Make the cubes of a survey: what ``msa3d_asn`` and ``strun msa3d`` do, in one call.

    Parameters
    ----------
    data_entries : str, pathlib.Path or sequence of such
        Exposures (uncal, rate or cal), or folders of them.
    msa_path : str or pathlib.Path, optional
        MSA metafile; that which the exposures name by default.
    output_dir : str or pathlib.Path
        Folder for association, run file and cubes.
    product_name : str, optional
        Beginning of the names of the cubes.
    sources : sequence of str or int
        Numbers, labels or names of the sources to make cubes of; all if empty.
    **parameters
        Parameters of `MSA3DPipeline`, as in ``maximum_cores="all"`` or
        ``steps={"cube": {"scalexy": 0.05}, "spec2": {"steps": {"pathloss": {"skip": True}}}}``.

    Returns
    -------
    Cubes
        One cube for each source, opened when it is looked at.

    Raises
    ------
    InputError
        Where no cube could be made.
    IncompleteError
        Where something is missing in the end; what was made is its ``result``.
    """
    survey = scan(data_entries, Choice(metafile=msa_path, product=product_name))
    log.info("\n%s", table(survey))
    _, run_file = write(survey, output_dir, sources, overwrite=True)
    pipeline = MSA3DSpec3Pipeline if survey.kind == "cal" else MSA3DPipeline
    return pipeline.call(str(run_file), output_dir=str(output_dir), **parameters)
