from __future__ import annotations

import json
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smtrain import shell
from smtrain.spec import Concat, InputPath, Resume, RuntimeVar, Word

HOSTILE = (
    "",
    " ",
    "it's",
    '"',
    "$(touch pwned)",
    "`touch pwned`",
    "${HOME}",
    "a\nb\n",
    "trailing\\",
    "}",
    "&",
    "/",
    "~",
    "*",
    "-n",
    "!",
    "é 漢字 🙂",
    "\x01\x7f\t\r",
)
PRINT_ARGUMENTS = "import json, sys; print(json.dumps(sys.argv[1:]))"
texts = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=8)


def arguments(words: list[Word], setup: str = "", *, lines: bool = False) -> list[str]:
    """Returns what a program sees when bash runs these words."""
    command = shell.command_lines if lines else shell.command
    script = f"set -euo pipefail\n{setup}\n{command([sys.executable, '-c', PRINT_ARGUMENTS, *words])}\n"
    done = subprocess.run(("bash", "-c", script), capture_output=True, text=True, check=True)
    result = json.loads(done.stdout)
    assert isinstance(result, list)
    return result


def test_hostile_words_arrive_as_they_are() -> None:
    assert arguments(list(HOSTILE)) == list(HOSTILE)


def test_hostile_words_arrive_as_they_are_when_each_stands_on_its_line() -> None:
    words = ["--flag", *HOSTILE, "--key=value", "--last"]
    assert arguments(list(words), lines=True) == words


@settings(max_examples=30)
@given(st.lists(texts, max_size=5))
def test_any_text_arrives_as_it_is(words: list[str]) -> None:
    assert arguments(list(words)) == words


def test_runtime_values_are_not_split_or_expanded() -> None:
    setup = "SMTRAIN_MODEL_DIR='a  *\n$(x)'; SMTRAIN_INPUT_MODEL='b c'"
    assert arguments([RuntimeVar.MODEL_DIR, InputPath(name="model")], setup) == ["a  *\n$(x)", "b c"]


def test_parts_of_a_word_are_joined_without_space() -> None:
    word = Concat(("--dir=$x ", RuntimeVar.MODEL_DIR, "", "/'sub'"))
    assert arguments([word], "SMTRAIN_MODEL_DIR='m d'") == ["--dir=$x m d/'sub'"]


def test_a_word_of_empty_parts_is_an_empty_word() -> None:
    assert arguments([Concat(("", ""))]) == [""]


def test_resume_is_no_word_without_a_checkpoint() -> None:
    assert arguments(["a", Resume("--resume="), "b"], f"unset {shell.RESUME_VARIABLE}") == ["a", "b"]


@pytest.mark.parametrize("prefix", ["", *HOSTILE])
def test_resume_is_one_word_with_a_checkpoint(prefix: str) -> None:
    setup = f"{shell.RESUME_VARIABLE}='out/check point-5'"
    assert arguments(["a", Resume(prefix), "b"], setup) == ["a", f"{prefix}out/check point-5", "b"]


def test_runtime_variables_are_found_inside_words() -> None:
    words = ("x", RuntimeVar.PYTHON, Concat(("--n=", RuntimeVar.NUM_NODES)), Resume(), InputPath(name="m"))
    assert shell.runtime_variables(words) == {RuntimeVar.PYTHON, RuntimeVar.NUM_NODES}


def test_assignments_keep_hostile_values() -> None:
    values: dict[str, Word] = {f"V{index}": text for index, text in enumerate(HOSTILE)}
    script = f"{shell.assignments(values)}\n{sys.executable} -c 'import json, os; print(json.dumps(dict(os.environ)))'"
    done = subprocess.run(("bash", "-c", script), capture_output=True, text=True, check=True)
    assert {name: value for name, value in json.loads(done.stdout).items() if name in values} == values


def test_every_input_has_a_variable_of_its_own() -> None:
    names = ("a-b", "a_b", "a--b", "a-", "a\n", "A_B", "a b", "a.b", "ä", "b", "")
    assert len({shell.input_variable(name) for name in names}) == len(names)
    assert shell.input_variable("train-rows") == "SMTRAIN_INPUT_TRAIN_ROWS"


def test_no_output_takes_the_variable_of_all_outputs() -> None:
    assert shell.variable_name(RuntimeVar.OUTPUT_DIR) not in {
        shell.output_variable(name) for name in ("", "dir", "DIR")
    }


@pytest.mark.parametrize("name", ["UID", "SECONDS", "1A", "A-B", "A B", "", "A\n"])
def test_a_name_that_bash_cannot_set_is_known(name: str) -> None:
    assert not shell.can_be_set(name)


@pytest.mark.parametrize("name", ["A", "_a1", "PATH", "HF_HOME"])
def test_an_ordinary_name_can_be_set(name: str) -> None:
    assert shell.can_be_set(name)


def test_only_stars_and_question_marks_of_a_glob_are_special() -> None:
    assert shell.glob("check point-*") == "'check point-'*"
    assert shell.glob("$(x)?") == "'$(x)'?"


def test_options_stand_on_a_line_with_their_value() -> None:
    text = shell.command_lines(("torchrun", "--nnodes", "2", "--standalone", "--a=b", "train.py"))
    assert text.split(" \\\n  ") == ["torchrun", "--nnodes 2", "--standalone", "--a=b", "train.py"]
