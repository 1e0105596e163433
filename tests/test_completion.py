"""Tab completion in real shells, and what they are told."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
from terminal import on_terminal

from smtrain.completion import typed_line

SETUP: Mapping[str, str] = {
    "bash": "bind 'set show-all-if-ambiguous on'; bind 'set bell-style none'; "
    "bind 'set enable-bracketed-paste off'; bind 'set page-completions off'",
    "zsh": "setopt no_beep no_prompt_cr no_list_ambiguous; unset zle_bracketed_paste; LISTMAX=0",
}

LINES: Mapping[str, tuple[str, ...]] = {
    "smtrain pl": ("plan", "plugins"),
    "smtrain plan str": ("strategy.", "strategy="),
    "smtrain strategy=z": (
        "strategy=zero1", "strategy=zero2", "strategy=zero2_offload", "strategy=zero3", "strategy=zero3_offload",
    ),
    "smtrain run trainer=lf_": (
        "trainer=lf_api", "trainer=lf_dpo", "trainer=lf_export", "trainer=lf_kto", "trainer=lf_ppo", "trainer=lf_pt",
        "trainer=lf_rm", "trainer=lf_sft",
    ),
}  # fmt: skip


@pytest.fixture
def env(tmp_path: Path) -> dict[str, str]:
    """An environment in which `smtrain` is the one under test, with no user's own settings of a shell."""
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "smtrain").write_text(
        f"#!{sys.executable}\nimport sys\nfrom smtrain.cli import main\nsys.argv[0] = 'smtrain'\nsys.exit(main())\n"
    )
    (programs / "smtrain").chmod(0o755)
    path = f"{programs}{os.pathsep}{os.environ['PATH']}"
    return {**os.environ, "PATH": path, "HOME": str(tmp_path), "ZDOTDIR": str(tmp_path), "TERM": "vt100", "PS1": "$ "}


def proposals(line: str, env: Mapping[str, str], cwd: Path) -> list[str]:
    """Returns what a shell is told to propose; nothing may be said besides."""
    argv = (sys.executable, "-m", "smtrain.cli", "-sc", "query=bash")
    done = subprocess.run(argv, cwd=cwd, env={**env, "COMP_LINE": line}, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    return done.stdout.split()


@pytest.mark.slow
@pytest.mark.parametrize(
    "shell",
    [pytest.param(name, marks=pytest.mark.needs_program(name)) for name in SETUP],
)
def test_a_person_is_shown_what_could_follow_and_the_only_choice_is_typed(
    shell: str, env: dict[str, str], tmp_path: Path
) -> None:
    argv = {"bash": ("bash", "--norc", "--noprofile", "-i"), "zsh": ("zsh", "-f", "-i")}[shell]
    with on_terminal(argv, cwd=tmp_path, env=env) as terminal:
        terminal.type(f'{SETUP[shell]}; eval "$(smtrain -sc install={shell})"; echo re""ady\n')
        terminal.read_until("ready\n")
        for line, expected in LINES.items():
            terminal.raw = ""
            terminal.type(f"{line}\t")
            terminal.read_until(*expected)
            terminal.type("\x15")  # Ctrl-U: forgets the line
        terminal.raw = ""
        terminal.type("smtrain plan strategy=zero1 launcher=acc\t")
        terminal.read_until("launcher=accelerate")  # the only choice is typed


@pytest.mark.slow
@pytest.mark.needs_program("fish")
@pytest.mark.parametrize("line", LINES)
def test_fish_proposes_each_on_a_line_of_its_own(line: str, env: dict[str, str], tmp_path: Path) -> None:
    script = f"smtrain -sc install=fish | source; complete -C '{line}'"
    done = subprocess.run(
        ("fish", "--no-config", "-c", script), cwd=tmp_path, env=env, capture_output=True, text=True, check=True
    )
    assert sorted(done.stdout.split("\n")[:-1]) == sorted(LINES[line])


@pytest.mark.parametrize("line", LINES)
def test_nothing_else_is_proposed(line: str, env: dict[str, str], tmp_path: Path) -> None:
    assert sorted(proposals(line, env, tmp_path)) == sorted(LINES[line])


def test_verbs_and_groups_may_follow_the_program(env: dict[str, str], tmp_path: Path) -> None:
    assert {"run", "plan", "stop", "strategy=", "seed="} <= set(proposals("smtrain ", env, tmp_path))


def test_no_verb_follows_a_verb(env: dict[str, str], tmp_path: Path) -> None:
    assert proposals("smtrain plan pl", env, tmp_path) == []


def test_verbs_without_overrides_leave_the_word_to_the_shell(env: dict[str, str], tmp_path: Path) -> None:
    assert proposals("smtrain submit str", env, tmp_path) == []


def test_our_flags_and_keys_that_no_file_mentions_are_no_hindrance(env: dict[str, str], tmp_path: Path) -> None:
    line = "smtrain plan --json trainer.args.max_steps=4 trainer.args.lora_r"
    assert proposals(line, env, tmp_path) == ["trainer.args.lora_rank="]


def test_the_configs_of_a_config_directory_are_proposed(env: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "conf" / "experiment").mkdir(parents=True)
    (tmp_path / "conf" / "experiment" / "mine.yaml").write_text("# @package _global_\nname: mine\n")
    assert proposals("smtrain --config-dir conf experiment=", env, tmp_path) == ["experiment=mine"]
    assert proposals("smtrain --config-dir=conf experiment=m", env, tmp_path) == ["experiment=mine"]


@pytest.mark.parametrize("line", ["smtrain plan 'a str", "smtrain --bogus str", "smtrain --js"])
def test_a_line_that_cannot_be_read_proposes_nothing(line: str, env: dict[str, str], tmp_path: Path) -> None:
    assert proposals(line, env, tmp_path) == []


def test_an_absent_config_directory_is_no_hindrance(env: dict[str, str], tmp_path: Path) -> None:
    assert proposals("smtrain --config-dir nowhere str", env, tmp_path) == ["strategy.", "strategy="]


def test_an_unknown_shell_is_told_with_those_there_are(tmp_path: Path) -> None:
    argv = (sys.executable, "-m", "smtrain.cli", "-sc", "install=tcsh")
    done = subprocess.run(argv, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "bash fish zsh" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_line_is_taken_apart() -> None:
    line = typed_line("smtrain  plan --json a=1 b")
    assert (line.program, line.earlier, line.last, line.verbs) == ("smtrain", ("a=1",), "b", ())
    assert typed_line("smtrain plan ").last == ""
    assert typed_line("smtrain plan").verbs == ("plan",)


COMMANDS = ("data tokenize", "data plan-batches", "price")


@pytest.mark.parametrize(
    ("line", "verbs", "takes_overrides"),
    [
        ("smtrain da", ("data",), True),
        ("smtrain data ", ("plan-batches", "tokenize"), False),
        ("smtrain data t", ("tokenize",), False),
        ("smtrain data tokenize ", (), True),
        ("smtrain price ", (), True),
        ("smtrain pri", ("price",), True),
    ],
)
def test_the_words_of_a_plugins_command_are_proposed_one_by_one(
    line: str, verbs: tuple[str, ...], *, takes_overrides: bool
) -> None:
    found = typed_line(line, COMMANDS)
    assert (found.verbs, found.takes_overrides) == (verbs, takes_overrides)


def test_the_commands_of_installed_plugins_are_proposed(env: dict[str, str], tmp_path: Path) -> None:
    assert proposals("smtrain data ", env, tmp_path) == ["plan-batches", "tokenize"]
    assert "seed=" in proposals("smtrain data tokenize se", env, tmp_path)


def test_flags_of_a_rehearsal_and_their_values_are_no_overrides() -> None:
    line = typed_line("smtrain rehearse --steps 5 a=1 --input model=/tmp --timeout=9 --docker b")
    assert (line.earlier, line.last, line.takes_overrides) == (("a=1",), "b", True)
    assert not typed_line("smtrain rehearse --input model=").takes_overrides
    assert not typed_line("smtrain fetch ru").takes_overrides
