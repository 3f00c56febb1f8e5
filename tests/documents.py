"""Parts of the documents that are made from the code.

``make documents`` writes them between their marks; a test holds them against the code:

    <!-- generated: exit codes -->
    ...
    <!-- end -->
"""

import inspect
import re
from pathlib import Path

import msgspec

from nnbench.catalog import listings
from nnbench.contract import hooks
from nnbench.contract.errors import GRAVITY, ExitCode
from nnbench.contract.spec import RULES
from nnbench.execution.variables import PASSED
from nnbench.figures.columns import TABLES
from nnbench.records.site import BoardEntry, CourseEntry, Index, RunEntry, StandingEntry
from nnbench.runs.comparison import Outcome

ROOT = Path(__file__).parents[1]
PART = re.compile(
    r"(?P<begin><!-- generated: (?P<name>[a-z ]+?)(?P<values>( \d+)*) -->\n)"
    r".*?(?P<end><!-- end -->)",
    re.DOTALL,
)


def table(*rows):
    """Write a table; the first row is its heading."""
    lines = ["| " + " | ".join(str(x).replace("|", "\\|") for x in row) + " |" for row in rows]
    lines.insert(1, "|" + "---|" * len(rows[0]))
    return "".join(f"{line}\n" for line in lines)


def exit_codes(*values):
    """Return the table of all exit codes, or of some."""
    chosen = map(ExitCode, map(int, values)) if values else ExitCode
    return table(("exit code", "meaning"), *((int(code), code.meaning) for code in chosen))


def outcomes():
    """Return the table of a comparison's outcomes, the gravest first."""
    order = sorted(Outcome, key=lambda o: GRAVITY.index(o.code) if o.code else len(GRAVITY))
    rows = ((f"`{o}`", o.meaning, "" if o.code is None else int(o.code)) for o in order)
    return table(("outcome", "meaning", "exit code"), *rows)


def observing_hooks():
    """Return the table of the hooks that observe."""
    rows = (
        (
            f"`{hook.__name__}`",
            ", ".join(f"`{argument}`" for argument in inspect.signature(hook).parameters),
            purpose(hook),
        )
        for hook in specifications(listings.events())
    )
    return table(("hook", "arguments", "what it is for"), *rows)


def listing_hooks():
    """Return the table of the hooks that list."""
    rows = ((f"`{hook.__name__}`", purpose(hook)) for hook in specifications(listings.kinds()))
    return table(("hook", "what it is for"), *rows)


def specifications(names):
    """Return the hooks of some names."""
    return [getattr(hooks, f"nnbench_{name}") for name in names]


def purpose(hook):
    """Return the first line of a hook's docstring, as Markdown."""
    return hook.__doc__.splitlines()[0].replace("``", "`")


def columns():
    """Return the tables of ``nnbench show`` with their columns."""
    rows = ((f"`{name}`", ", ".join(f"`{each}`" for each in TABLES[name].names)) for name in TABLES)
    return table(("`--table`", "`--columns` and `--sort`"), *rows)


def optimizers():
    """Return the table of the kinds of optimizers."""
    rows = ((f"`{kind}`", f"`{rule.formula}`", rule.words) for kind, rule in RULES.items())
    return table(("kind", "update of a parameter θ with the gradient g", "in words"), *rows)


def variables():
    """Return the table of the environment variables that reach a worker."""
    rows = (
        (
            ", ".join(f"`{name}`" for name in group.names.split()),
            group.reason,
            "value" if group.counts else "name",
        )
        for group in PASSED
    )
    return table(("variables", "what they say", "what results have"), *rows)


def site_index():
    """Return the table of the fields of a site's index."""
    kinds = {
        "": Index,
        "courses[].": CourseEntry,
        "courses[].boards[].": BoardEntry,
        "courses[].boards[].standings[].": StandingEntry,
        "runs[].": RunEntry,
    }
    rows = (
        (f"`{place}{field.encode_name}`", described(field.type))
        for place, kind in kinds.items()
        for field in msgspec.structs.fields(kind)
    )
    return table(("field", "what"), *rows)


def described(hint):
    """Return the description of a field, the last of its annotations."""
    return hint.__metadata__[-1].description


PARTS = {
    "columns": columns,
    "exit codes": exit_codes,
    "hooks that list": listing_hooks,
    "hooks that observe": observing_hooks,
    "optimizers": optimizers,
    "outcomes": outcomes,
    "index of a site": site_index,
    "variables": variables,
}


def generate(text):
    """Return a document with its generated parts as they should be."""
    return PART.sub(lambda m: m["begin"] + PARTS[m["name"]](*m["values"].split()) + m["end"], text)


def documents():
    """Return the documents that have such parts."""
    paths = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")]
    return sorted(path for path in paths if "<!-- generated: " in path.read_text("utf-8"))


if __name__ == "__main__":
    for document in documents():
        document.write_text(generate(document.read_text("utf-8")), "utf-8")
