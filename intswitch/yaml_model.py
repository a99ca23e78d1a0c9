"""YAML file -> pydantic model; all mistakes at once, each with its line and path."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, TypeVar, get_args

import yaml
from pydantic import BaseModel, BeforeValidator, ValidationError

Model = TypeVar("Model", bound=BaseModel)
Location = tuple[int | str, ...]
Mistake = tuple[Location, object, str]
"""Path of a field, what is found there, what is wrong with it."""
Numbered = list[tuple[int, dict[str, Any]]]
"""Mappings of a list, each with its place in it."""

# What pydantic says, in words of the file. In braces: what it knows of the limit.
WORDS = {
    "missing": "is missing",
    "bool_type": "expected true or false",
    "dict_type": "expected a mapping",
    "greater_than_equal": "expected at least {ge:g}",
    "int_from_float": "expected an integer",
    "int_parsing": "expected an integer",
    "int_type": "expected an integer",
    "list_type": "expected a list",
    "literal_error": "expected {expected}",
    "model_type": "expected a mapping of fields",
    "path_type": "expected the path of a file",
    "string_too_short": "expected some text",
    "string_type": "expected text",
    "too_long": "expected {max_length} of them, not {actual_length}",
    "tuple_type": "expected a list",
    "value_error": "{error}",
}


class FileError(ValueError):
    """A file says something that it must not. The text is for its author."""


def expect(text: str, allowed: Callable[[Any], bool]) -> BeforeValidator:
    """A check of one field, in words of the file."""

    def check(value: Any) -> Any:
        if not allowed(value):
            raise ValueError(f"expected {text}")
        return value

    return BeforeValidator(check)


def read_model(
    path: Path,
    model: type[Model],
    contradictions: Callable[[dict[str, Any]], Iterable[Mistake]],
) -> Model:
    """The file as a `model`. Raises FileError, FileNotFoundError.

    `contradictions` holds one field against another, also where some field is wrong. It
    gets the file as it is: what is no mapping there, or no number, is told elsewhere.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise FileError(f"{path}: not YAML: expected text in UTF-8") from None
    return parse_model(text, path, model, contradictions)


def parse_model(
    text: str,
    path: Path | str,
    model: type[Model],
    contradictions: Callable[[dict[str, Any]], Iterable[Mistake]],
) -> Model:
    """The same of text; `path` is what messages call it."""
    node, document = _parse(text, path)
    if not isinstance(document, dict):
        fields = ", ".join(model.model_fields)
        raise FileError(f"{path}: expected the fields {fields}; the file has none")
    twice = [f"{path}:{line}: {text}" for line, text in _repeated(node)]
    if twice:  # the parser keeps the last, and nobody knows which was meant
        raise FileError("\n".join(twice))
    mistakes: list[Mistake] = []
    try:
        found = model.model_validate(document)
    except ValidationError as error:
        mistakes += [_mistake(detail, model) for detail in error.errors()]
    mistakes += contradictions(document)
    if mistakes:
        mistakes.sort(key=lambda mistake: _line(node, mistake[0]))
        raise FileError("\n".join(_sentence(path, node, *each) for each in mistakes))
    return found


def _parse(text: str, path: Path | str) -> tuple[yaml.Node | None, Any]:
    try:
        return yaml.compose(text), yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise FileError(_no_yaml(path, error)) from None


def _repeated(node: Any, above: str = "") -> Iterator[tuple[int, str]]:
    """Fields that a mapping has more than once: line, and what is wrong."""
    if isinstance(node, yaml.SequenceNode):
        for number, part in enumerate(node.value):
            yield from _repeated(part, f"{above}{number}.")
    if not isinstance(node, yaml.MappingNode):
        return
    first: dict[str, int] = {}
    for key, value in node.value:
        line, name = key.start_mark.line + 1, str(key.value)
        if name in first:
            yield line, f"{above}{name}: has been given in line {first[name]} before"
        first.setdefault(name, line)
        yield from _repeated(value, f"{above}{name}.")


def _no_yaml(path: Path | str, error: yaml.YAMLError) -> str:
    mark, problem = getattr(error, "problem_mark", None), getattr(error, "problem", "")
    if mark is None:
        return f"{path}: not YAML: {' '.join(str(error).split())}"
    place = f"{path}:{mark.line + 1}: not YAML:"
    if r"'\t'" in problem:
        return f"{place} a tab in column {mark.column + 1}; indent with spaces"
    return f"{place} {problem} (column {mark.column + 1})"


def mapping(document: dict[str, Any], name: str) -> dict[str, Any]:
    """A part of the file, or an empty one if it is none."""
    part = document.get(name)
    return part if isinstance(part, dict) else {}


def mappings(document: dict[str, Any], name: str) -> Numbered:
    """Those of a list; nothing, if it is none."""
    parts = document.get(name)
    numbered = enumerate(parts if isinstance(parts, list) else ())
    return [(number, part) for number, part in numbered if isinstance(part, dict)]


def _mistake(detail: Any, model: type[BaseModel]) -> Mistake:
    """An error of pydantic's."""
    location = tuple(detail["loc"])
    if detail["type"] == "extra_forbidden":
        allowed = ", ".join(_fields(model, location))
        return location, {}, f"no such field; allowed: {allowed}"
    words = WORDS.get(detail["type"])
    text = words.format(**detail.get("ctx", {})) if words else detail["msg"]
    return location, {} if detail["type"] == "missing" else detail["input"], text


def _sentence(
    path: Path | str,
    node: yaml.Node | None,
    location: Location,
    found: object,
    text: str,
) -> str:
    """FILE:LINE: PATH.OF.FIELD: what is wrong (found what)."""
    suffix = "" if isinstance(found, dict | list) else f" (found {found!r})"
    field = ".".join(map(str, location))
    return f"{path}:{_line(node, location)}: {field}: {text}{suffix}"


def _line(node: yaml.Node | None, location: Location) -> int:
    """The line of the field, or of the innermost part that is there."""
    line = node.start_mark.line if node else 0
    for step in location:
        child = _child(node, step)
        if child is None:
            break
        line, node = child
    return line + 1


def _child(node: yaml.Node | None, step: int | str) -> tuple[int, yaml.Node] | None:
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            if key.value == str(step):
                return key.start_mark.line, value
    if not isinstance(node, yaml.SequenceNode) or not isinstance(step, int):
        return None
    if step >= len(node.value):
        return None
    return node.value[step].start_mark.line, node.value[step]


def _fields(model: type[BaseModel], location: Location) -> list[str]:
    """The fields of the model in which the last step of `location` was sought."""
    for step in location[:-1]:
        field = model.model_fields.get(str(step))
        if field is not None:
            model = next(_models(field.annotation), model)
    return list(model.model_fields)


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    """The models in an annotation such as tuple[Link, ...]."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from _models(argument)
