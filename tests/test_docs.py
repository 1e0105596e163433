"""What the documents show is what happens: their commands run, their files are whole, their links lead somewhere.

A fenced block with `title=PATH` is a file, written before the page's commands run. A line `$ smtrain plan …` or
`$ smtrain explain …` of a `console` block runs; what stands below it must be in the output, in that order, with `…`
for any text.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
PAGES = sorted(path for path in (*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")) if path.is_file())
BLOCK = re.compile(r"^```(\w+)(?: +title=(\S+))?\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)#\s]*)(?:#([^)\s]+))?\)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """A fenced block: its language, the file that it is, if any, and its text."""

    language: str
    title: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """A command of a console block, and what the page shows of its output."""

    page: Path
    line: str
    shown: str

    @property
    def is_compiling(self) -> bool:
        return self.line.startswith(("smtrain plan", "smtrain explain"))


def blocks(page: Path) -> list[Block]:
    found = BLOCK.findall(page.read_text(encoding="utf-8"))
    return [Block(language=language, title=title, text=text) for language, title, text in found]


def commands(page: Path) -> Iterator[Command]:
    for block in blocks(page):
        if block.language == "console":
            for part in re.split(r"^\$ ", block.text, flags=re.MULTILINE)[1:]:
                line, _, shown = part.partition("\n")
                yield Command(page=page, line=line, shown=shown.strip("\n"))


def write_files(page: Path, folder: Path) -> Path:
    """Writes the page's files; the entry points of a pyproject.toml become those of an installed distribution."""
    for block in blocks(page):
        if block.title:
            path = folder / block.title
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(block.text, encoding="utf-8")
    if (folder / "pyproject.toml").is_file():
        register(folder)
    return folder


def register(folder: Path) -> None:
    project = tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    metadata = folder / f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text(f"Name: {project['name']}\nVersion: {project['version']}\n", encoding="utf-8")
    entries = "".join(f"{name} = {value}\n" for name, value in project["entry-points"]["smtrain"].items())
    (metadata / "entry_points.txt").write_text(f"[smtrain]\n{entries}", encoding="utf-8")


def python(*words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    # What pip would install from the page is found because it lies in the current folder.
    paths = os.pathsep.join((str(cwd), os.environ.get("PYTHONPATH", "")))
    env = {**os.environ, "PYTHONPATH": paths}
    return subprocess.run((sys.executable, *words), cwd=cwd, env=env, capture_output=True, text=True, check=False)


def execute(line: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    # No shell: what the page shows must not depend on one.
    return python("-m", "smtrain.cli", *line.split()[1:], cwd=cwd)


def shows(output: str, shown: str) -> bool:
    pattern = ".*?".join(map(re.escape, shown.replace("…\n…", "…").split("…")))
    return re.search(pattern, output, re.DOTALL) is not None


COMPILING = [command for page in PAGES for command in commands(page) if command.is_compiling]


def test_pages_show_commands() -> None:
    assert {"configuration.md", "plugins.md"} <= {command.page.name for command in COMPILING}


@pytest.mark.slow
@pytest.mark.parametrize("command", COMPILING, ids=lambda command: f"{command.page.name}: {command.line}")
def test_command_does_what_its_page_shows(command: Command, tmp_path: Path) -> None:
    done = execute(command.line, write_files(command.page, tmp_path))
    output = done.stdout + done.stderr
    assert done.returncode == (2 if command.shown.startswith("error:") else 0), output
    assert shows(output, command.shown), output
    assert "is broken" not in output


@pytest.mark.slow
def test_plugin_of_the_page_passes_its_own_tests(tmp_path: Path) -> None:
    write_files(ROOT / "docs" / "plugins.md", tmp_path)
    done = python("-m", "pytest", "-q", "-p", "no:cacheprovider", "test_acme.py", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
def test_plugin_of_the_page_imports_runs_and_is_told(tmp_path: Path) -> None:
    write_files(ROOT / "docs" / "plugins.md", tmp_path)
    (tmp_path / "said.json").write_text('{"word": "it is high tide"}', encoding="utf-8")

    imported = execute("smtrain import echo said.json -o conf/experiment/said.yaml", tmp_path)
    ran = execute("smtrain run --config-dir conf experiment=said backend=bare", tmp_path)
    told = execute("smtrain acme steps trainer=echo --only say", tmp_path)

    assert imported.returncode == 0, imported.stderr
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "it is high tide" in ran.stdout
    assert told.stdout == "smtrain say: printf %s\\n hello\n", told.stderr
    assert re.search(r"^runs/smtrain-\w+: succeeded$", ran.stdout, re.MULTILINE)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_blocks_are_whole(page: Path) -> None:
    for block in blocks(page):
        match block.language:
            case "python":
                compile(block.text, f"{page.name}:{block.title}", "exec")
            case "yaml":
                yaml.safe_load(block.text)
            case "toml":
                tomllib.loads(block.text)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target, anchor in LINK.findall(page.read_text(encoding="utf-8")):
        if not target.startswith(("http://", "https://")):
            path = (page.parent / target) if target else page
            assert path.exists(), f"{page.name} links to {target}"
            assert not anchor or anchor in anchors(path), f"{page.name} links to {target}#{anchor}"


def anchors(page: Path) -> set[str]:
    """The anchors that GitHub gives the headings of a page."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}
