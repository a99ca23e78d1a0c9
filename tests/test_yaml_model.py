"""Files with something wrong in them, whatever it is: told by field, in our words."""

from collections.abc import Callable, Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import yaml

from intswitch import yaml_model
from intswitch.configuration import read_switch
from intswitch.p4_configuration import read_controller
from intswitch.topology import load
from intswitch.yaml_model import FileError

ROOT = Path(__file__).parent.parent
READERS: dict[str, Callable[[str], object]] = {
    "examples/switch.yaml": read_switch,
    "examples/controller.yaml": read_controller,
    "topologies/pair.yaml": load,
}
VALUES = (
    None, True, 5, -1, 1.5, "", "x" * 64, "1:2:3", [], {}, [1], ["a"], {"a": 1}, [[1]],
)  # fmt: skip
EVERY_FIELD = {
    "topologies/pair.yaml": {
        "seed": 1,
        "links": [
            {"between": ["worker0", "switch1"], "rate": "1 bit/s", "delay": "1 s"},
            {
                "between": ["worker1", "switch1"],
                "loss": 0.1,
                "toward": {"switch1": {"loss": 0}},
            },
        ],
    },
    "examples/switch.yaml": {
        "faults": {
            "inward": {"loss": 0.1, "delay": "1 ms", "flipped_bits": 1},
            "links": {"127.0.0.1": {"outward": {"duplication": 0.1}}},
            "seed": 1,
        }
    },
    "examples/controller.yaml": {
        "jobs": [{"job": 7, "slot_bytes": 1024, "workers": ["10.0.0.1:1"]}]
    },
}


def places(part: Any, above: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Paths of all that a document has."""
    fields = part.items() if isinstance(part, dict) else ()
    for step, value in enumerate(part) if isinstance(part, list) else fields:
        yield (*above, step)
        yield from places(value, (*above, step))


def replaced(document: Any, place: tuple[Any, ...], value: object) -> Any:
    changed = part = deepcopy(document)
    for step in place[:-1]:
        part = part[step]
    part[place[-1]] = value
    return changed


@pytest.mark.parametrize("name", READERS)
def test_a_wrong_value_anywhere(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class OurWords(dict[str, str]):
        def get(self, kind: str) -> str:  # type: ignore[override]
            return self[kind]  # no fallback

    monkeypatch.setattr(yaml_model, "WORDS", OurWords(yaml_model.WORDS))
    document = yaml.safe_load((ROOT / name).read_text()) | EVERY_FIELD[name]
    path = tmp_path / "file.yaml"
    refused = 0
    for place in places(document):
        for value in VALUES:
            path.write_text(yaml.safe_dump(replaced(document, place, value)))
            try:
                READERS[name](str(path))
            except FileError as error:
                refused += 1
                for line in str(error).splitlines():
                    assert line.startswith(f"{path}:")
                    assert line.split(":")[1].isdigit()
    assert refused > 100


def test_a_field_given_twice(tmp_path: Path) -> None:
    path = tmp_path / "file.yaml"
    text = (ROOT / "topologies/pair.yaml").read_text()
    links = "links:\n  - {between: [worker0, switch1], loss: 0.1,\n     loss: 0.2}\n"
    path.write_text(f"seed: 1\n{links}{text}seed: 2\n")
    with pytest.raises(FileError) as caught:
        load(str(path))
    lines = len(text.splitlines())
    given = next(n for n, line in enumerate(text.splitlines()) if line == "links:")
    assert str(caught.value).splitlines() == [
        f"{path}:4: links.0.loss: has been given in line 3 before",
        f"{path}:{given + 5}: links: has been given in line 2 before",
        f"{path}:{lines + 5}: seed: has been given in line 1 before",
    ]
