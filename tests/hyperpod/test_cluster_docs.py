"""What docs/hyperpod-cluster.md shows is what happens."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from cluster_compiling import base_configuration
from commands import smtrain

PAGE = (Path(__file__).parents[2] / "docs" / "hyperpod-cluster.md").read_text(encoding="utf-8")
BLOCK = re.compile(r"^```(\w+)(?: +title=(\S+))?\n(.*?)^```$", re.MULTILINE | re.DOTALL)
BASE = "awsome-distributed-ai/1.architectures/5.sagemaker-hyperpod/LifecycleScripts"


@pytest.fixture
def page(tmp_path):
    """A folder with the page's files, and with what stands for the base configuration that it clones."""
    for _, title, text in BLOCK.findall(PAGE):
        if title:
            (tmp_path / title).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / title).write_text(text, encoding="utf-8")
    (tmp_path / BASE).mkdir(parents=True)
    base_configuration(tmp_path / BASE)
    return tmp_path


def test_the_plan_says_what_the_page_shows(page):
    ((_, _, text),) = [block for block in BLOCK.findall(PAGE) if block[0] == "console"]
    line, _, shown = text.removeprefix("$ ").partition("\n")
    answer = smtrain(*line.split()[1:], cwd=page)
    assert answer.code == 0, answer.err
    pattern = ".*?".join(map(re.escape, shown.strip("\n").replace("\n…\n", "…").split("…")))
    assert re.search(pattern, answer.out, re.DOTALL), answer.out


def test_the_cluster_under_eks_compiles(page):
    answer = smtrain("cluster", "plan", "--config-dir", "conf", "cluster=k8s", cwd=page)
    assert (answer.code, answer.err) == (0, "")


def test_the_page_names_every_command():
    from smtrain.registry import Registry

    for name in Registry().commands:
        if name.startswith("cluster "):
            assert f"smtrain {name} " in PAGE, name
