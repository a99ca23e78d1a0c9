"""What the documentation says is what the code does."""

import re
from pathlib import Path

import pytest
import yaml
from golden import parse
from model import COUNTERS

from intswitch.configuration import read_switch
from switch import protocol
from switch.config import JobConfig, SwitchConfig
from switch.pipeline import Pipeline

ROOT = Path(__file__).parent.parent
PROTOCOL = (ROOT / "docs" / "protocol.md").read_text()
GOLDEN = (ROOT / "tests" / "golden" / "README.md").read_text()
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def blocks(text: str, language: str = "") -> list[str]:
    """The fenced blocks of a page."""
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


def test_the_table_of_fields_has_the_offsets_and_sizes_of_the_code() -> None:
    rows = re.findall(r"^\| (\d+) \| (\d) \| ([a-z_, ]+) \|", PROTOCOL, re.MULTILINE)
    assert [
        (int(offset), int(size), name.replace(", ", "_")) for offset, size, name in rows
    ] == [(protocol.OFFSET[name], size, name) for name, size, _ in protocol.FIELDS]


def test_every_counter_is_explained_and_none_is_made_up() -> None:
    counters = set(Pipeline(SwitchConfig(num_slots=1)).counters())
    assert counters >= set(COUNTERS)
    for name in counters:
        assert f"`{name}`" in PROTOCOL, name
    counted_as = set(re.findall(r"\| `([a-z_]+)` \|$", PROTOCOL, re.MULTILINE))
    assert counted_as <= counters


def test_the_files_fields_and_defaults_are_those_of_the_code(tmp_path: Path) -> None:
    (text,) = blocks(PROTOCOL, "yaml")
    path = tmp_path / "switch.yaml"
    path.write_text(text)
    workers = (("127.0.0.1", 5001), ("127.0.0.1", 5002))
    assert read_switch(path) == SwitchConfig(jobs=(JobConfig(job=7, workers=workers),))
    named = set(yaml.safe_load(text)["switch"]) | set(yaml.safe_load(text)["jobs"][0])
    fields = set(SwitchConfig.__slots__) | set(JobConfig.__slots__)
    assert named == fields - {"faults", "jobs", "group"}


def test_the_packets_by_hand_are_what_the_switch_takes_and_gives() -> None:
    hexes = re.findall(r"^(1[01] 12 .*)$", PROTOCOL, re.MULTILINE)
    first, second, result = (bytes.fromhex(line) for line in hexes)
    config = read_switch(ROOT / "examples" / "switch.yaml")
    zero, one = config.jobs[0].workers
    answers = Pipeline(config).process([(first, zero), (second, one)])
    assert answers == [(result, zero), (result, one)]


def test_the_example_lines_of_the_golden_packets_are_statements() -> None:
    lines = re.findall(r"^    ((?:packet|expect) .*)$", GOLDEN, re.MULTILINE)
    lines += re.findall(r"^\| `((?:switch|job) .*?)`", GOLDEN, re.MULTILINE)
    assert len(lines) == 6
    order = sorted(lines, key=lambda line: not line.startswith("job"))
    script = parse("\n".join(order))
    assert len(script.steps) == 2


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_and_paths_lead_somewhere(page: Path) -> None:
    text = page.read_text()
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", text):
        assert (page.parent / target).exists(), target
    for target in re.findall(r"`((?:switch|host|tests|docs|examples)/[^`* ]*)`", text):
        assert (ROOT / target).exists(), target
    anchors = {
        re.sub(r"[^a-z0-9 -]", "", title.lower().replace("`", "")).replace(" ", "-")
        for title in re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    }
    assert set(re.findall(r"\]\(#([^)]+)\)", text)) <= anchors
