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


def class_of(config):
    module, name = config["class"].rsplit(".", 1)
    return getattr(importlib.import_module(module), name)


def values(step, config):
    """Pair each value of a parameter file with that of a step, by the path to the parameter."""
    for key, value in config.items():
        if key == "steps":
            for name, section in value.items():
                for path, *pair in values(getattr(step, name), section):
                    yield (f"{name}.{path}", *pair)
        elif key not in ("class", "name", "config_file"):
            yield key, value, getattr(step, key)


@pytest.mark.parametrize("path", REFERENCES, ids=lambda p: p.stem)
def test_parameter_references_are_valid(path):
    """Each validates against the spec of its class, and makes that step with these values."""
    config = config_parser.load_config_file(str(path))
    cls = class_of(config)
    assert config["name"] == cls.class_alias
    assert path.stem.startswith(config["name"].replace("calwebb", "msa3d"))
    step = Step.from_config_file(str(path))
    assert type(step) is cls
    given = list(values(step, config))
    assert given
    assert [(name, found) for name, _, found in given] == [(name, want) for name, want, _ in given]


@pytest.mark.parametrize("path", REFERENCES, ids=lambda p: p.stem)
def test_parameter_references_are_the_defaults(path):
    """They show what a step does without them, but for that of the published reduction."""
    config = config_parser.load_config_file(str(path))
    step = class_of(config)()
    if config["name"] == "calwebb_detector1":  # jwst's own, with the defaults it has in ours
        step = msa3d_steps.MSA3DPipeline().detector1
    changed = {
        name for name, want, found in values(step, config)
        if want != found and name.split(".")[-1] != "save_results"
    }  # fmt: skip
    published = {
        "msa3d_spec2_go2136": {"barshadow.skip", "pathloss.skip"},
        "msa3d_cube_go2136": {"method", "weighting", "coord_system", "linear_wave"},
        "msa3d_outlier_go2136": {
            "method", "sigclip", "sigfrac", "niter", "line_width", "read_noise",
        },
    }  # fmt: skip
    assert changed == published.get(path.stem, set())


def test_parameter_references_are_shipped():
    from importlib.resources import files

    shipped = {p.name for p in files("msa3d_steps.parameter_refs").iterdir()}
    assert {p.name for p in REFERENCES} <= shipped
