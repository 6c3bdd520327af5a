"""Tables of the pages that follow from code: components' inputs and outputs, commands, options, the input contract.

A table stands between `<!-- generated:NAME -->` and `<!-- end -->` in a page. `make tables` writes them anew, and
tests/test_pages.py fails where a page and the code differ.
"""

import importlib
import inspect
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import is_dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import click
import pyarrow as pa
from kfp.dsl.base_component import BaseComponent
from pydantic import TypeAdapter
from typer.main import get_command

from components.contracts.engine import SparkApplicationConfig
from components.contracts.features import FEATURES, VIEWS
from components.contracts.markets import DOMAINS
from components.contracts.schemas import LOG_TABLES, Column
from components.contracts.training.config import TrainJobConfig
from components.ranking.model.spec import RankerSpec
from components.relevance.config import ExpertConfig, TextConfig, VariantConfig
from components.relevance.model.spec import TuningSpec
from pipelines.cli.main import app
from pipelines.profile import Profile
from pipelines.resources import Resources, SecretVariable

ROOT = Path(__file__).resolve().parents[1]
# In the order data flows.
STAGES = ("marketplace", "relevance", "samples", "features", "ranking", "monitoring", "release")
# Models that are values of a section's options, after the section that they belong to.
_PARTS: dict[str, tuple[type, ...]] = {
    "relevance": (ExpertConfig, TuningSpec, TextConfig, VariantConfig),
    "samples": (SparkApplicationConfig,),
    "ranking": (RankerSpec,),
    "training": (TrainJobConfig,),
    "resources": (Resources, SecretVariable),
}
_SLOT = re.compile(r"(<!-- generated:(?P<name>[\w-]+) -->\n).*?(<!-- end -->)", re.DOTALL)
_ENTRY = re.compile(r"^(\w+(?:, \w+)*): (.*)$")


def components_table() -> str:
    """A row per KFP component, in the order of its module: what it reads and writes, and the image it runs in."""
    rows = []
    for stage in STAGES:
        module = importlib.import_module(f"components.{stage}.component")
        for name, component in vars(module).items():
            if not isinstance(component, BaseComponent):
                continue
            spec = component.component_spec
            image = spec.implementation.container.image.removeprefix("archipelago-")
            does = _first_line(component.python_func.__doc__)
            rows.append([f"`{name}`", stage, does, _artifacts(spec.inputs), _artifacts(spec.outputs), image])
    return _table(["component", "stage", "does", "reads", "writes", "image"], rows)


def commands_table() -> str:
    """A row per command of `archipelago`: its line of help, and its options."""
    rows = [
        [f"`archipelago {name}`", _first_line(command.help), _options(command)]
        for name, command in commands_of(get_command(app))
    ]
    return _table(["command", "does", "arguments and options"], rows)


def commands_of(group: Any, before: str = "") -> Iterator[tuple[str, Any]]:
    """A group's commands by their whole names, those of groups within it too."""
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands_of(command, f"{before}{name} ")
        else:
            yield f"{before}{name}", command


def contract_table() -> str:
    """A row per column of the input contract."""
    rows = []
    for schema in LOG_TABLES:
        refers = {column: f"in {table}" for column, table in schema.references}
        for name, column in schema.columns.items():
            place = f"`{schema.name}`" if name == next(iter(schema.columns)) else ""
            key = ["unique"] if schema.key == (name,) else []
            rules = [*key, *_rules(column), *([refers[name]] if name in refers else [])]
            rows.append([place, f"`{name}`", _type(column.type), "; ".join(rules)])
        if len(schema.key) > 1:
            rows.append(["", _code(schema.key), "", "together unique"])
    return _table(["file", "column", "type", "rules"], rows)


def features_table() -> str:
    """A row per feature of the ranker, by token group."""
    rows = []
    for feature in FEATURES:
        place = f"`{feature.view}`" if feature.view in VIEWS else "the request"
        unit = f"code, {feature.buckets:,} of `{feature.table}`" if feature.table else feature.unit
        window = f"{feature.window} days" if feature.window else ""
        unknown = "empty" if feature.kind == "sequence" else "0" if feature.table else f"{feature.unknown:g}"
        rows.append([f"`{feature.name}`", feature.group, feature.kind, place, unit, window, unknown])
    return _table(["feature", "group", "kind", "from", "unit", "window", "unknown"], rows)


def options_tables() -> str:
    """A heading and a table per section of a profile, and one for each kind of value that has options of its own."""
    parts = []
    for section, field in Profile.model_fields.items():
        model = field.annotation
        if isinstance(model, type) and hasattr(model, "model_fields"):
            parts += [f"### {section}", "", _first_line(model.__doc__), "", options_table(model), ""]
        for part in _PARTS.get(section, ()):
            parts += [f"#### {section}: {part.__name__}", "", _first_line(part.__doc__), "", options_table(part), ""]
    return "\n".join(parts).rstrip()


def options_table(model: type) -> str:
    """A row per option of a configuration: name, default, allowed values, what it is.

    Raises:
        KeyError: an option that no docstring describes.
    """
    schema = TypeAdapter(model).json_schema()
    options, required, described = schema["properties"], schema.get("required", []), descriptions(model)
    rows = []
    # Options that share an entry of the docstring share a row.
    for text, names in groupby(options, key=lambda name: described[name]):
        together = list(names)
        defaults = [
            "required" if name in required else _default(options[name].get("default", ...)) for name in together
        ]
        values = dict.fromkeys(_values(options[name]) for name in together)
        rows.append([_code(together), ", ".join(defaults), ", ".join(values), text])
    return _table(["option", "default", "values", "what it is"], rows)


def descriptions(model: type) -> dict[str, str]:
    """Option -> its text under `Attributes:` in the docstring of the class or of one it extends."""
    found: dict[str, str] = {}
    for owner in reversed(model.__mro__):
        if not (hasattr(owner, "model_fields") or is_dataclass(owner)):
            continue
        _, _, attributes = inspect.cleandoc(owner.__doc__ or "").partition("Attributes:\n")
        names: list[str] = []
        for line in inspect.cleandoc(attributes).splitlines():
            if match := _ENTRY.match(line):
                names = match[1].split(", ")
                found |= dict.fromkeys(names, match[2])
            elif line.strip():
                found |= {name: f"{found[name]} {line.strip()}" for name in names}
    return found


TABLES: dict[str, Callable[[], str]] = {
    "components": components_table,
    "commands": commands_table,
    "contract": contract_table,
    "features": features_table,
    "options": options_tables,
}


def render(page: str) -> str:
    """The page with every generated table written anew.

    Raises:
        KeyError: a slot of an unknown name.
    """
    return _SLOT.sub(lambda slot: f"{slot[1]}{TABLES[slot['name']]()}\n{slot[3]}", page)


def pages() -> list[Path]:
    """Every page of the project, by path; what runs and builds left is none of it."""
    made = ("runs", "build")
    folders = [path for path in ROOT.iterdir() if path.is_dir() and path.name[0] != "." and path.name not in made]
    return sorted([ROOT / "README.md", *(page for folder in folders for page in folder.rglob("*.md"))])


def _artifacts(specs: Mapping[str, Any] | None) -> str:
    """Inputs or outputs: artifacts with their kind, then parameters, which are text."""
    artifacts, parameters = [], []
    for name, spec in (specs or {}).items():
        kind, is_artifact, _ = str(spec.type).removeprefix("system.").partition("@")
        if is_artifact:
            artifacts.append(f"`{name}` {kind}{' (optional)' if getattr(spec, 'optional', False) else ''}")
        else:
            parameters.append(f"`{name}`")
    return ", ".join([*artifacts, *parameters])


def _options(command: click.Command) -> str:
    arguments = [str(p.name).upper() for p in command.params if p.param_type_name == "argument"]
    options = [max(p.opts, key=len) for p in command.params if p.param_type_name == "option"]
    return _code(name for name in [*arguments, *options] if name != "--help")


def _rules(column: Column) -> list[str]:
    rules = ["may be null"] if column.nullable else []
    if column.is_market:
        rules.append("a market of the profile")
    if column.values:
        rules.append("one of " + ", ".join(column.values))
    if column.minimum is not None and column.maximum is not None:
        rules.append(f"{column.minimum:g} to {column.maximum:g}")
    elif column.minimum is not None:
        rules.append(f"{column.minimum:g} or more")
    if column.max_chars:
        rules.append(f"at most {column.max_chars} characters")
    if pa.types.is_string(column.type) and not (column.blank or column.values or column.is_market):
        rules.append("not blank")
    if column.is_past:
        rules.append("not after `--as-of`")
    return rules


def _type(kind: pa.DataType) -> str:
    if pa.types.is_timestamp(kind):
        return "time"
    if pa.types.is_floating(kind):
        return "number"
    return "whole number" if pa.types.is_integer(kind) else "text"


def _values(option: dict[str, Any]) -> str:
    """Type and bounds of an option, from its JSON schema."""
    if "enum" in option:
        return " or ".join(f"`{value}`" for value in option["enum"])
    if "const" in option:
        return f"`{option['const']}`"
    if "anyOf" in option:
        return " or ".join(_values(choice) for choice in option["anyOf"])
    if "$ref" in option:
        return option["$ref"].rpartition("/")[2]
    kind = option.get("type", "")
    if kind == "array":
        inner = option.get("items") or (option.get("prefixItems") or [{}])[0]
        return f"list of {_values(inner)}"
    if kind == "object":
        return f"mapping to {_values(option['additionalProperties'])}"
    name = {"integer": "whole number", "null": "null", "boolean": "true or false", "string": "text"}.get(kind, kind)
    bounds = [
        f"{sign} {option[key]:g}"
        for key, sign in (
            ("minimum", ">="), ("exclusiveMinimum", ">"), ("maximum", "<="), ("exclusiveMaximum", "<"),
        )
        if key in option
    ]  # fmt: skip
    if "multipleOf" in option:
        bounds.append(f"a multiple of {option['multipleOf']:g}")
    return " ".join([name, ", ".join(bounds)]).strip()


def _default(value: Any) -> str:
    """A default as a profile would state it; a model's own defaults stand in its own table."""
    if isinstance(value, dict) and set(value) == set(DOMAINS):
        return f"`{{{', '.join(f'{key}: {entry}' for key, entry in value.items())}}}`"
    if value is ... or isinstance(value, dict):
        return "see below"
    if isinstance(value, list | tuple) and value and isinstance(value[0], dict):
        return ", ".join(f"`{entry['name']}`" for entry in value)
    if isinstance(value, list | tuple):
        return f"`[{', '.join(map(str, value))}]`"
    return f"`{json.dumps(value, ensure_ascii=False)}`"


def _code(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def _first_line(text: str | None) -> str:
    return inspect.cleandoc(text or "").partition("\n\n")[0].replace("\n", " ")


def _table(columns: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    columns = list(columns)
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |" for cells in lines)


def main() -> None:
    """Write every page's generated tables."""
    for page in pages():
        text = page.read_text(encoding="utf-8")
        if (written := render(text)) != text:
            page.write_text(written, encoding="utf-8")
            print(f"wrote {page.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
