"""What is written opens with jwst's and stpipe's own readers, and says what it should."""

import dataclasses
import json

import asdf
import pytest
from jwst.associations import load_asn
from stpipe import config_parser
from tiny_exposures import snake, write_msa_metafile, write_survey

import msa3d_steps
from msa3d_steps.association import Choice, scan, write
from msa3d_steps.cube.inputs import find_members
from msa3d_steps.datamodels.runfile import is_run_file, read_run_inputs
from msa3d_steps.errors import InputError

PRODUCT = "jw02136-o001_{source_id}_nirspec_f100lp-g140h"
CLASSES = {
    "cal": ("msa3d_steps.MSA3DSpec3Pipeline", "msa3d_spec3"),
    "rate": ("msa3d_steps.MSA3DPipeline", "msa3d"),
    "uncal": ("msa3d_steps.MSA3DPipeline", "msa3d"),
}


def survey_of(folder, kind="cal", choice=None, **options):
    write_survey(folder, snake(2, 2), kind=kind, **options)
    if kind != "cal":
        write_msa_metafile(folder, range(1, 5))
    return scan(folder, choice)


@pytest.mark.parametrize("kind", ["uncal", "rate", "cal"])
def test_association_opens_with_jwst(tmp_path, kind):
    survey = survey_of(tmp_path, kind)
    path, _ = write(survey, tmp_path)
    with path.open() as file:
        asn = load_asn(file)
    assert (asn["asn_type"], asn["asn_rule"], asn["program"]) == (
        "spec3",
        "DMS_Level3_Base",
        "02136",
    )
    (product,) = asn["products"]
    assert product["name"] == PRODUCT
    assert [m["expname"] for m in product["members"]] == [p.name for p in survey.members]
    assert {m["exptype"] for m in product["members"]} == {"science"}
    members = find_members(path)
    assert members.product == PRODUCT
    assert [p.resolve() for p in members.items] == [p.resolve() for p in survey.members]


def test_members_are_in_the_order_of_exposures(tmp_path):
    """File names are random; members go by exposure and detector."""
    survey = survey_of(tmp_path)
    seen = [
        (int(frame.key[-1]), frame.detector)
        for exposure in survey.exposures
        for frame in exposure.frames.values()
    ]
    assert seen == [(n, d) for n in range(1, 5) for d in ("NRS1", "NRS2")]


@pytest.mark.parametrize("kind", ["uncal", "rate", "cal"])
def test_run_file_is_valid(tmp_path, kind):
    survey = survey_of(tmp_path / "data", kind)
    asn, path = write(survey, tmp_path / "out")
    assert path.name == "jw02136-o001_nirspec_f100lp-g140h_msa3d.asdf"
    assert is_run_file(path)
    inputs = read_run_inputs(path)  # validates the schema
    assert inputs.members == [asn.resolve()]
    assert inputs.product_name == PRODUCT
    metafile = None if kind == "cal" else survey.metafiles[0].resolve()
    assert (inputs.msa_metafile and inputs.msa_metafile.resolve()) == metafile
    config = config_parser.load_config_file(str(path))
    assert (config["class"], config["name"]) == CLASSES[kind]
    assert config["maximum_cores"] == "half"
    assert "sources" not in config
    before = {"cal": [], "rate": ["spec2"], "uncal": ["detector1", "spec2"]}
    assert list(config["steps"]) == [*before[kind], "cube", "quicklook"]


@pytest.mark.parametrize("kind", ["uncal", "rate", "cal"])
def test_run_file_states_the_defaults(tmp_path, kind):
    """The pipeline takes it, and a run file that is left as it is changes nothing."""
    _, path = write(survey_of(tmp_path, kind), tmp_path)
    name = CLASSES[kind][0].rpartition(".")[2]
    cls = getattr(msa3d_steps, name)
    config = config_parser.load_config_file(str(path))
    written = config.dict()
    configured = cls.from_config_section(config, name="x")  # refuses what it does not know
    plain = cls.from_config_section(config_parser.ConfigObj(), name="x")
    assert type(configured).class_alias == written["name"]
    assert _values(written, configured)
    for path, value in _values(written, configured).items():
        assert value == _values(written, plain)[path], path


def _values(written, step):
    """Values in a pipeline of the parameters that are written; None where they are not used."""
    values = {k: getattr(step, k) for k in written if k not in ("class", "name", "steps")}
    for name, section in written.get("steps", {}).items():
        inner = _values(section, getattr(step, name))
        values |= {f"{name}.{k}": v for k, v in inner.items()}
    return values


def test_every_parameter_has_a_comment(tmp_path):
    _, path = write(survey_of(tmp_path, "uncal"), tmp_path)
    lines = path.read_text().splitlines()
    parameters = [
        i
        for i, line in enumerate(lines)
        if line.strip().startswith(("skip:", "scalexy:", "maximum_cores:", "weighting:", "expand"))
    ]
    assert len(parameters) == 7
    for i in parameters:
        assert lines[i - 1].strip().startswith("# ")


def test_choices_of_the_user(tmp_path):
    survey = survey_of(tmp_path, "rate")
    parameters = {
        "maximum_cores": 3,
        "cube.scalexy": 0.05,
        "pathloss.skip": True,
        "spec2.cube_build.skip": None,
        "extract_2d.slit_names": ["1", "2"],
    }
    with pytest.raises(InputError, match=r"no step spec2\.cube_build"):
        write(survey, tmp_path, parameters=parameters)
    del parameters["spec2.cube_build.skip"]
    with pytest.raises(InputError, match="no step extract_2d"):
        write(survey, tmp_path, parameters=parameters)
    del parameters["extract_2d.slit_names"]
    assert not list(tmp_path.glob("*.asdf"))
    _, path = write(survey, tmp_path, ["2136_7", 100123], {**parameters, "cube.slit_frac": 0.5})
    with asdf.open(path) as file:
        tree = file.tree
    assert tree["parameters"] == {"sources": ["2136_7", "100123"], "maximum_cores": 3}
    spec2, cube, _ = tree["steps"]
    assert spec2["steps"][1]["name"] == "pathloss"
    assert spec2["steps"][1]["parameters"] == {"skip": True}
    cube = cube["parameters"]
    assert (cube["scalexy"], cube["slit_frac"], cube["weighting"]) == (0.05, 0.5, "drizzle")


def test_source_that_is_not_there(tmp_path):
    with pytest.raises(InputError, match="no source 99; there are: 7, 100123"):
        write(survey_of(tmp_path, "rate"), tmp_path, [99])
    assert not list(tmp_path.glob("*.json"))


@pytest.mark.parametrize("name", ["yes", "a: b", 'quo"te', "{source_id}_x", "1_2"])
def test_product_names_of_any_kind(tmp_path, name):
    survey = survey_of(tmp_path, choice=Choice(product=name))
    asn, path = write(survey, tmp_path)
    assert read_run_inputs(path).product_name == name
    assert json.loads(asn.read_text())["products"][0]["name"] == name


@pytest.mark.parametrize("name", ["a/b", "/b", ""])
def test_product_name_that_leads_elsewhere(tmp_path, name):
    survey = survey_of(tmp_path / "data")
    with pytest.raises(InputError, match="no plain name"):
        write(dataclasses.replace(survey, product=name), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_nothing_is_overwritten_unasked(tmp_path):
    survey = survey_of(tmp_path)
    _, path = write(survey, tmp_path)
    path.write_text("edited")
    with pytest.raises(InputError, match="is there already; give --overwrite"):
        write(survey, tmp_path)
    assert path.read_text() == "edited"
    write(survey, tmp_path, overwrite=True)
    assert is_run_file(path)


def test_distant_members_are_named_in_full(tmp_path):
    survey = survey_of(tmp_path / "a" / "data")
    asn, _ = write(survey, tmp_path / "a" / "out")
    name = json.loads(asn.read_text())["products"][0]["members"][0]["expname"]
    assert name == f"../data/{survey.members[0].name}"
    asn, _ = write(survey, tmp_path / "b" / "c" / "d")
    name = json.loads(asn.read_text())["products"][0]["members"][0]["expname"]
    assert name == str(survey.members[0].resolve())
