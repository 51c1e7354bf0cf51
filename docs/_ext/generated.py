"""Tables in Markdown that code makes: parameters, options of commands, measured numbers.

A page holds a table between two comments, so that it can be read on any code host::

    <!-- table: parameters msa3d_cube -->
    ...
    <!-- end of table -->

``python docs/_ext/generated.py`` writes all of them anew; the documentation makes them anew as
it is built; the tests compare.
"""

import argparse
import ast
import re
import sys
from functools import cache
from pathlib import Path

from astropy.table import Table
from numpy import ma
from stpipe import Step
from stpipe.utilities import import_class, resolve_step_class_alias

__all__ = ["PAGES", "fill", "main", "rows_of_parameters", "table"]

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "benchmarks" / "results"
PAGES = [
    ROOT / "README.md", ROOT / "benchmarks" / "README.md", *sorted((ROOT / "docs").glob("*.md"))
]  # fmt: skip
"""Files that may have such tables."""

BLOCK = re.compile(r"(<!-- table: (\w+) ([\w.-]+) -->\n).*?(<!-- end of table -->)", re.S)

TOLD_IN = {
    "smoothing": {"msa3d_cube": "inverse.md"},
    "weighting": {"msa3d_cube": "errors.md#robust-combination"},
    "clip_snr": {"msa3d_cube": "errors.md#robust-combination"},
    "covariance": {"msa3d_cube": "errors.md"},
    "covariance_wave": {"msa3d_cube": "errors.md"},
    "offset_file": {"msa3d_cube": "registration.md#offset-files"},
    "register": {"msa3d_cube": "registration.md"},
    "image": {"msa3d_cube": "registration.md#how-image-works"},
    "save_offsets": {"msa3d_cube": "registration.md"},
    "method": {"msa3d_cube": "inverse.md", "msa3d_outlier": "outlier.md#how-stack-works"},
    "dask_scheduler": {"msa3d_spec3": "pipelines.md#a-cluster"},
    "memory_limit": {"msa3d_spec3": "pipelines.md#memory-and-disk"},
    "resume": {"msa3d_spec3": "pipelines.md#going-on"},
}
"""Pages that tell more about a parameter of a step."""


def fill(text, above=""):
    """Make the tables of a page anew.

    Parameters
    ----------
    text : str
        The page.
    above : str
        What links to pages of the documentation begin with.

    Returns
    -------
    str
        The page with its tables as they are now.
    """
    return BLOCK.sub(lambda m: f"{m[1]}{table(m[2], m[3], above)}\n{m[4]}", text)


def table(kind, name, above=""):
    """Make a table.

    Parameters
    ----------
    kind : {'parameters', 'defaults', 'options', 'results'}
        Parameters of a step, defaults of the steps in a pipeline, options of a command, or what a
        benchmark gave.
    name : str
        Alias of the step, name of the command, or of the file in ``benchmarks/results``.
    above : str
        What links to pages of the documentation begin with.

    Returns
    -------
    str
        The table in Markdown.
    """
    makers = {
        "parameters": lambda: (
            ["parameter", "values", "default", "meaning"],
            [_linked(row, name, above) for row in rows_of_parameters(name)],
        ),
        "defaults": lambda: (["parameter", "here"], _defaults(name)),
        "options": lambda: (["option", "meaning"], _options(name)),
        "results": lambda: _results(name),
    }
    header, rows = makers[kind]()
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(
        "".join(f"| {cell} " if cell else "| " for cell in line) + "|" for line in lines
    )


def rows_of_parameters(alias):
    """Read the parameters of a step out of its specification.

    Parameters
    ----------
    alias : str
        As in ``msa3d_cube``.

    Returns
    -------
    list of tuple of str
        Name, values, default and meaning of each parameter that is ours, not stpipe's.
    """
    step = _class(alias)
    names = []
    for base in step.__mro__:
        if base.__module__.startswith("msa3d_steps"):
            names += re.findall(r"^ *(\w+) *=", base.__dict__.get("spec", ""), re.M)
    spec = step.load_spec_file()
    rows = []
    for name in dict.fromkeys(names):
        if name == "output_use_model":
            continue
        values, default = _values(spec[name])
        rows.append((name, values, default, _sentence(spec.inline_comments[name])))
    return rows


def _class(alias):
    return import_class(resolve_step_class_alias(alias), Step)


def _values(check):
    """Put a check of the specification, as ``float(min=0, default=1.0)``, into words."""
    call = ast.parse(check.replace("pass(", "anything("), mode="eval").body
    limits = {k.arg: ast.literal_eval(k.value) for k in call.keywords}
    default = limits.pop("default", None)
    if call.func.id == "option":
        choices = [ast.literal_eval(a) for a in call.args]
        return ", ".join(f"`{c}`" for c in choices), f"`{default}`"
    words = {
        "boolean": "yes or no", "float": "number", "integer": "whole number", "string": "text",
        "force_list": "list", "float_list": "list of numbers", "anything": "number or text",
    }[call.func.id]  # fmt: skip
    if "min" in limits and "max" in limits:
        words += f", {limits['min']} to {limits['max']}"
    elif "min" in limits:
        words += f", at least {limits['min']}"
    if isinstance(default, bool):
        return words, "yes" if default else "no"
    if default is None or default == "":
        return words, ""
    return words, f"`{default}`" if isinstance(default, str) else f"{default:g}"


def _sentence(comment):
    return comment.lstrip("# ").strip().replace("|", r"\|")


def _linked(row, alias, above):
    """Set the name of a parameter as code, with a link to the page that tells more."""
    page = TOLD_IN.get(row[0], {}).get(alias)
    name = f"`{row[0]}`"
    return (f"[{name}]({above}{page})" if page else name, *row[1:])


def _defaults(alias):
    """List the defaults of the steps in a pipeline that differ from the steps' own."""
    words = {True: "yes", False: "no"}
    return [
        (f"`{path}`", words.get(value, f"`{value}`") if isinstance(value, bool) else f"`{value}`")
        for path, value in _class(alias).defaults.items()
    ]


def _options(command):
    """List the options of a command."""
    from msa3d_steps.association import cli as asn
    from msa3d_steps.simulate import cli as simulate

    parser = {"msa3d_asn": asn, "msa3d_simulate": simulate}[command]._parser()  # noqa: SLF001
    rows = []
    for action in parser._actions:  # noqa: SLF001
        if isinstance(action, argparse._HelpAction | argparse._VersionAction):  # noqa: SLF001
            continue
        names = action.option_strings or [action.metavar or action.dest]
        value = "" if action.nargs == 0 or not action.option_strings else _metavar(action)
        shown = ", ".join(f"`{n}{value if n.startswith('--') else ''}`" for n in names)
        rows.append((shown, (action.help or "").replace("%%", "%").replace("|", r"\|")))
    return rows


def _metavar(action):
    if action.choices:
        return f"={{{','.join(map(str, action.choices))}}}"
    return f"={action.metavar or action.dest.upper()}"


@cache
def _file(name):
    return Table.read(RESULTS / f"{name}.ecsv")


def _results(name):
    """Set what a benchmark gave: headings from its head, digits from the formats of the columns."""
    data = _file(name)
    columns = data.columns.values()
    return data.meta["headings"], [
        [_cell(value, column) for value, column in zip(row, columns, strict=True)] for row in data
    ]


def _cell(value, column):
    if value is ma.masked:
        return ""
    return (column.format or "{}").format(value)


def main(arguments=None):
    """Write the tables of all pages anew, or tell which are not as they should be.

    Parameters
    ----------
    arguments : list of str or None
        Command-line arguments; those of the process if not given.

    Returns
    -------
    int
        Exit status.
    """
    parser = argparse.ArgumentParser(description=main.__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="tell, and write nothing")
    options = parser.parse_args(arguments)
    old = []
    for path in PAGES:
        text = path.read_text(encoding="utf-8")
        new = fill(text, above_of(path))
        if new != text:
            old.append(str(path.relative_to(ROOT)))
            if not options.check:
                path.write_text(new, encoding="utf-8")
    sys.stdout.write("".join(f"{name}\n" for name in old))
    return int(options.check and bool(old))


def above_of(path):
    """Give what links from a file to pages of the documentation begin with.

    Parameters
    ----------
    path : pathlib.Path
        The file.

    Returns
    -------
    str
        As in ``../docs/``.
    """
    return {"docs": "", "benchmarks": "../docs/"}.get(path.parent.name, "docs/")


if __name__ == "__main__":
    sys.exit(main())
