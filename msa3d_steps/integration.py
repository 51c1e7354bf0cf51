"""Entry points. Nothing heavy is imported here: ``stpipe list`` and ``strun`` start fast."""

from importlib.resources import files

__all__ = ["STEPS", "get_resource_mappings", "get_steps"]

STEPS = (
    ("MSA3DBackgroundStep", "msa3d_background", False),
    ("MSA3DCubeStep", "msa3d_cube", False),
    ("MSA3DOutlierStep", "msa3d_outlier", False),
    ("MSA3DPathlossStep", "msa3d_pathloss", False),
    ("MSA3DPipeline", "msa3d", True),
    ("MSA3DQuicklookStep", "msa3d_quicklook", False),
    ("MSA3DRelabelStep", "msa3d_relabel", False),
    ("MSA3DSpec2Pipeline", "msa3d_spec2", True),
    ("MSA3DSpec3Pipeline", "msa3d_spec3", True),
)
"""Class, alias and whether it is a pipeline, for each step of this package."""


def get_steps():
    """List the steps of this package for stpipe.

    Returns
    -------
    list of tuple
        Qualified class name, alias, and whether it is a pipeline.
    """
    return [(f"msa3d_steps.{name}", alias, pipeline) for name, alias, pipeline in STEPS]


def get_resource_mappings():
    """List the schemas of this package for asdf.

    Returns
    -------
    list of asdf.resource.DirectoryResourceMapping
        One mapping for data models, one for run files.
    """
    from asdf.resource import DirectoryResourceMapping

    schemas = files("msa3d_steps") / "datamodels" / "schemas"
    return [
        DirectoryResourceMapping(
            schemas,
            "asdf://msa3d-steps.org/schemas/datamodels/",
            filename_pattern="*.schema.yaml",
            stem_filename=True,
        ),
        DirectoryResourceMapping(
            schemas,
            "asdf://msa3d-steps.org/schemas/",
            filename_pattern="run_file*.yaml",
            stem_filename=True,
        ),
    ]
