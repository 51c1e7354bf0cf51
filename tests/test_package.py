"""The package as stpipe, asdf and a user see it."""

import importlib
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

import asdf
import pytest
from stpipe import Step, config_parser
from stpipe.entry_points import get_steps

import msa3d_steps
from msa3d_steps.integration import STEPS
from msa3d_steps.integration import get_steps as our_steps

ROOT = Path(__file__).parents[1]
REFERENCES = sorted((ROOT / "parameter_refs").glob("*.asdf"))


def test_steps_are_registered():
    found = {s.class_alias: s for s in get_steps() if s.package_name == "msa3d-steps"}
    assert set(found) == {alias for _, alias, _ in STEPS}


@pytest.mark.parametrize(("name", "alias", "is_pipeline"), our_steps())
def test_registration_is_true(name, alias, is_pipeline):
    cls = getattr(msa3d_steps, name.rsplit(".", 1)[1])
    assert cls.class_alias == alias
    assert issubclass(cls, Step)
    assert hasattr(cls, "step_defs") == is_pipeline


def test_listing_imports_nothing_heavy():
    """``stpipe list`` names the steps without jwst's pipelines, our steps or numba."""
    code = (
        "import sys\n"
        "from stpipe.entry_points import get_steps\n"
        "assert any(s.class_alias == 'msa3d_cube' for s in get_steps())\n"
        "heavy = {'jwst.pipeline', 'jwst.step', 'msa3d_steps.cube.step', 'numba'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_schemas_are_registered():
    assert [e for e in entry_points(group="asdf.resource_mappings") if e.name == "msa3d_steps"]
    for uri in (
        "asdf://msa3d-steps.org/schemas/datamodels/msacube.schema",
        "asdf://msa3d-steps.org/schemas/run_file-1.0.0",
    ):
        assert asdf.schema.load_schema(uri)["id"] == uri


def test_public_names():
    for name in msa3d_steps.__all__:
        assert getattr(msa3d_steps, name) is not None
    assert "MSA3DCubeStep" in dir(msa3d_steps)
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        _ = msa3d_steps.Nothing


def test_there_are_parameter_references():
    assert REFERENCES


@pytest.mark.parametrize("path", REFERENCES, ids=lambda p: p.stem)
def test_parameter_references_are_valid(path):
    """Each is for a step of ours, validates against its spec, and makes that step."""
    config = config_parser.load_config_file(str(path))
    module, name = config["class"].rsplit(".", 1)
    cls = getattr(importlib.import_module(module), name)
    assert config["name"] == cls.class_alias == path.stem
    step = Step.from_config_file(str(path))
    assert type(step) is cls
    given = {k: v for k, v in config.items() if k not in ("class", "name")}
    assert given
    for key, value in given.items():
        assert getattr(step, key) == value


def test_parameter_references_are_shipped():
    from importlib.resources import files

    shipped = {p.name for p in files("msa3d_steps.parameter_refs").iterdir()}
    assert {p.name for p in REFERENCES} <= shipped
