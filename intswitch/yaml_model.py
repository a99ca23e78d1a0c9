"""YAML file -> pydantic model; all mistakes at once, each with its line and path."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar, get_args

import yaml
from pydantic import BaseModel, ValidationError

Model = TypeVar("Model", bound=BaseModel)
Location = tuple[int | str, ...]


class FileError(ValueError):
    """A file says something that it must not. The text is for its author."""


def read_model(path: Path, model: type[Model]) -> Model:
    """The file as a `model`. Raises FileError, FileNotFoundError."""
    text = path.read_text(encoding="utf-8")
    try:
        node = yaml.compose(text)
        document = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise FileError(f"{path}: not YAML: {_one_line(error)}") from None
    if not isinstance(document, dict):
        fields = ", ".join(model.model_fields)
        raise FileError(f"{path}: expected the fields {fields}; the file has none")
    try:
        return model.model_validate(document)
    except ValidationError as error:
        mistakes = [pair for one in error.errors() for pair in _mistakes(one, model)]
        lines = [_sentence(path, node, *pair) for pair in mistakes]
        raise FileError("\n".join(lines)) from None


def _one_line(error: yaml.YAMLError) -> str:
    return " ".join(str(error).split())


def _mistakes(mistake: Any, model: type[BaseModel]) -> Iterator[tuple[Location, str]]:
    """Where and what. One error of pydantic's can be several of ours.

    A validator that checks one part of the file against another raises with a line
    for every mistake, each beginning with the path of its field and a colon.
    """
    location: Location = tuple(mistake["loc"])
    message = str(mistake["msg"]).removeprefix("Value error, ")
    if mistake["type"] == "value_error" and isinstance(mistake["input"], dict):
        for line in message.splitlines():
            field, _, text = line.partition(": ")
            steps = [int(step) if step.isdigit() else step for step in field.split(".")]
            yield (*location, *steps), text
    elif mistake["type"] == "extra_forbidden":
        yield location, f"no such field; allowed: {', '.join(_fields(model, location))}"
    elif mistake["type"] == "missing":
        yield location, "is missing"
    elif isinstance(mistake["input"], dict | list):
        yield location, message
    else:
        yield location, f"{message} (found {mistake['input']!r})"


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


def _sentence(
    path: Path, node: yaml.Node | None, location: Location, message: str
) -> str:
    """FILE:LINE: PATH.OF.FIELD: what is wrong."""
    field = ".".join(map(str, location))
    return f"{path}:{_line(node, location)}: {field}: {message}"


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
