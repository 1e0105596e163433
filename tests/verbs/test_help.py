from __future__ import annotations

from importlib.metadata import version

import pytest
from commands import Smtrain

from smtrain.cli import VERB_FUNCTIONS
from smtrain.command_line import VERBS


@pytest.mark.parametrize("words", [("--help",), ("-h",), ("help",), ("plan", "--help"), ("run", "-h"), ("-h", "x=1")])
def test_help_lists_every_verb(words: tuple[str, ...], smtrain: Smtrain) -> None:
    answer = smtrain(*words)
    assert (answer.code, answer.err) == (0, "")
    for verb, meaning in VERBS.items():
        assert f"  {verb:<10}{meaning}\n" in answer.out


def test_every_verb_has_a_function() -> None:
    assert VERB_FUNCTIONS.keys() == VERBS.keys()


@pytest.mark.parametrize("verb", ["submit", "diff", "ps", "status", "logs", "stop", "import"])
def test_a_verb_without_overrides_explains_its_own_flags(
    verb: str, smtrain: Smtrain, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        smtrain(verb, "--help")
    assert ended.value.code == 0
    out = capsys.readouterr().out
    assert f"usage: smtrain {verb}" in out
    assert "--json" in out


@pytest.mark.parametrize("words", [("status",), ("diff", "a"), ("ps", "--nope"), ("plan", "--nope")])
def test_wrong_flags_end_with_two(words: tuple[str, ...], smtrain: Smtrain) -> None:
    with pytest.raises(SystemExit) as ended:
        smtrain(*words)
    assert ended.value.code == 2


def test_the_version_is_that_of_the_distribution(smtrain: Smtrain) -> None:
    assert smtrain("--version").out == f"smtrain {version('smtrain')}\n"


@pytest.mark.parametrize(("word", "fix"), [("plna", "Did you mean `plan`?"), ("zzz", "Choose one of:")])
def test_a_word_that_is_no_verb_is_told(word: str, fix: str, smtrain: Smtrain) -> None:
    answer = smtrain(word, "seed=1")
    assert (answer.code, answer.out) == (2, "")
    assert f"`{word}` is no verb, and no override" in answer.err
    assert fix in answer.err


@pytest.mark.parametrize(
    ("words", "fix"),
    [
        (("--config-dir", "my conf", "plan", "seed=1"), "Say smtrain plan --config-dir 'my conf' seed=1"),
        (("seed=1", "run"), "Say smtrain run seed=1"),
        (("--json", "ps"), "Say smtrain ps --json"),
        (("--config-dir", "plan", "plan"), "Say smtrain plan --config-dir plan"),
    ],
)
def test_a_verb_that_stands_elsewhere_is_told(words: tuple[str, ...], fix: str, smtrain: Smtrain) -> None:
    answer = smtrain(*words)
    assert answer.code == 2
    assert "comes first." in answer.err
    assert fix in answer.err
