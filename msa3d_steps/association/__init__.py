"""From a folder of exposures to an association and a run file: what ``msa3d_asn`` does."""

from msa3d_steps.association.from_cube import Rebuild, rebuild
from msa3d_steps.association.report import table
from msa3d_steps.association.sifting import Choice
from msa3d_steps.association.survey import Survey, scan
from msa3d_steps.association.writing import write

__all__ = ["Choice", "Rebuild", "Survey", "rebuild", "scan", "table", "write"]
