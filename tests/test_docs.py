"""What the documentation says is what the code does."""

import re
from dataclasses import replace
from pathlib import Path

import pytest
import typer
import yaml
from golden import parse
from model import COUNTERS
from switches_under_test import Wrong, some, with_rule

from intswitch import cli, conformance
from intswitch.configuration import read_switch
from intswitch.conformance import report, run
from switch import protocol
from switch.config import JobConfig, SwitchConfig, TreePlace
from switch.pipeline import Pipeline
from switch.protocol import Rule

ROOT = Path(__file__).parent.parent
PROTOCOL = (ROOT / "docs" / "protocol.md").read_text()
GOLDEN = (ROOT / "tests" / "golden" / "README.md").read_text()
CONFORMANCE = (ROOT / "docs" / "conformance.md").read_text()
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
    codes = (*range(-7, 1), *range(8))
    job = JobConfig(job=7, workers=workers, code4=codes)
    assert read_switch(path) == SwitchConfig(jobs=(job,))
    named = set(yaml.safe_load(text)["switch"]) | set(yaml.safe_load(text)["jobs"][0])
    fields = set(SwitchConfig.__slots__) | set(JobConfig.__slots__)
    assert named == fields - {"faults", "jobs", "group", "code8", "tree", "security"}
    assert "# code8: [256 integers]" in text
    path.write_text(text.replace("# tree", "tree"))
    place = TreePlace(num_workers=4, ranks=(0, 1), parent=("127.0.0.1", 48865))
    assert read_switch(path).jobs == (replace(job, tree=place),)


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
    assert len(lines) == 7
    order = sorted(lines, key=lambda line: not line.startswith("job"))
    script = parse("\n".join(order))
    assert len(script.steps) == 2


def test_the_options_of_the_test_kit_are_those_of_its_page() -> None:
    command = typer.main.get_command(cli.app).commands["conformance"]
    options = {name for each in command.params for name in each.opts if "--" in name}
    named = set(re.findall(r"(?<![\w-])--[a-z]+(?:-[a-z]+)*", CONFORMANCE))
    assert not named - options
    assert options - named == {"--bind"}


def test_the_example_of_the_test_kit_is_what_it_prints() -> None:
    """Up to the time that it took, and how its table is laid out."""
    (_, text, *_) = re.split(r"^```\n", CONFORMANCE, maxsplit=2, flags=re.MULTILINE)
    told = re.findall(r"^    \S.*$", text, re.MULTILINE)
    names = ("late_duplicate_safe", "safe_behind")
    outcomes = run(some(*names), Wrong(configured=with_rule(Rule.SWITCHML)))
    lines = [line for outcome in outcomes for line in report.told(outcome)]
    assert [line for line in lines if line.startswith("    ")] == told
    assert set(lines) <= set(text.splitlines())


def test_the_python_of_the_test_kits_page_runs(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (code,) = blocks(CONFORMANCE, "python")
    few = conformance.scripts()[:2]
    monkeypatch.setattr(conformance, "scripts", lambda: few)
    exec(code, {})
    lines = capsys.readouterr().out.split()
    assert lines == [few[0].stem, "pass", few[1].stem, "pass"]


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
