"""Each case is a data set with rows; the verdict is held against LLaMA-Factory's real converters, where installed."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from smtrain.columns import check, drop_absent_optional, effective_columns, effective_tags
from smtrain.datasets import find
from smtrain.errors import Problem
from smtrain.rows import Sample, read
from smtrain.sections import Data
from smtrain.spec import Dataset, Json, RowShape

SFT, DPO, KTO, PT, PROMPT = (
    RowShape.PROMPT_RESPONSE,
    RowShape.PREFERENCE,
    RowShape.FEEDBACK,
    RowShape.TEXT,
    RowShape.PROMPT,
)
needs_llamafactory = pytest.mark.skipif(
    importlib.util.find_spec("llamafactory") is None, reason="llamafactory is not installed"
)

OPENAI_TAGS = {"role_tag": "role", "content_tag": "content", "user_tag": "user", "assistant_tag": "assistant"}
OPENAI_TAGS |= {"observation_tag": "tool", "function_tag": "function", "system_tag": "system"}
MESSAGES = {"messages": "messages"}
PAIR = {"prompt": "instruction", "chosen": "chosen", "rejected": "rejected"}
CHAT_PAIR = {"messages": "conversations", "chosen": "chosen", "rejected": "rejected"}
MARKED = {"prompt": "instruction", "response": "output", "kto_tag": "label"}


def chat(*texts: str, roles: str = "") -> list[Json]:
    """Returns messages from human and gpt in turn, or by the letters of `roles`: h, g, s, o, f."""
    names = {"h": "human", "g": "gpt", "s": "system", "o": "observation", "f": "function_call", "x": "stranger"}
    letters = roles or "hg" * len(texts)
    return [{"from": names[letter], "value": text} for letter, text in zip(letters, texts, strict=False)]


def said(*turns: tuple[str, Json], **more: Json) -> list[Json]:
    return [{"role": role, "content": text, **more} for role, text in turns]


@dataclass(frozen=True)
class Case:
    """A data set, and what must be said of it: "" is nothing, "drops ..." a warning, and anything else an error."""

    rows: tuple[Mapping[str, Json], ...]
    says: str = ""
    key: str = "data"
    shape: RowShape = SFT
    format: str = "alpaca"
    columns: Mapping[str, str] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    ranking: bool = False
    warns: bool = False
    origin: str = "data"

    def dataset(self) -> Dataset:
        return Dataset(
            name="rows",
            role="train",
            key=self.origin,
            source="file",
            location="rows.jsonl",
            format=self.format,
            columns=self.columns,
            tags=self.tags,
            ranking=self.ranking,
        )


ROW = {"instruction": "say x", "input": "", "output": "x"}
CHOICE = {"instruction": "say x", "chosen": "x", "rejected": "y"}
TALK = {"conversations": chat("say x", "x")}
CHAT_CHOICE = {"conversations": chat("say x"), "chosen": chat("", "x")[1], "rejected": chat("", "y")[1]}
OPEN = {"messages": said(("system", "s"), ("user", "say x"), ("assistant", "x"))}

CASES: dict[str, Case] = {
    "alpaca": Case((ROW, ROW)),
    "alpaca_without_input": Case(({"instruction": "say x", "output": "x"},)),
    "alpaca_question_answer": Case(
        ({"question": "q", "answer": "a"},),
        "no column `query`; the rows have `question`, `answer`.",
        "data.columns.prompt",
        columns={"prompt": "query", "response": "answer"},
    ),
    "alpaca_all_defaults_absent": Case(
        ({"question": "q", "answer": "a"},), "no column `instruction`, no column `input`"
    ),
    "alpaca_response_unmapped": Case(
        ({"question": "q", "output": "a"},),
        "no column is named for response",
        "data.columns.response",
        columns={"prompt": "question"},
    ),
    "alpaca_absent_system": Case(
        ({**ROW, "sys": "s"},),
        "no column `system`",
        "data.columns.system",
        columns={"prompt": "instruction", "response": "output", "system": "system"},
    ),
    "alpaca_own_entry": Case((ROW,), origin="data.names"),
    "alpaca_own_entry_without_input": Case(
        ({"instruction": "say x", "output": "x"},), "no column `input`", "data.names", origin="data.names"
    ),
    "alpaca_history": Case(
        ({**ROW, "past": [["q", "a"]]}, {**ROW, "past": []}, {**ROW, "past": None}),
        columns={"prompt": "instruction", "response": "output", "history": "past"},
    ),
    "alpaca_history_of_triples": Case(
        ({**ROW, "past": [["q", "a", "b"]]},),
        "history `past` is not a list of [prompt, response] pairs",
        "data.columns.history",
        columns={"prompt": "instruction", "response": "output", "history": "past"},
    ),
    "alpaca_prompt_is_number": Case(({**ROW, "instruction": 3},), "prompt `instruction` is an integer, not a string."),
    "alpaca_input_is_list": Case(({**ROW, "input": ["x"]},), "query `input` is a list, not a string."),
    "alpaca_response_is_number": Case(({**ROW, "output": 3},), "response `output` is an integer, not a string."),
    "alpaca_no_response_at_all": Case(({**ROW, "output": None},), "no response (`output` is absent or null)."),
    "alpaca_some_without_response": Case((ROW, {**ROW, "output": None}), "no response (`output`", warns=True),
    "pair": Case((CHOICE,), shape=DPO, ranking=True, columns=PAIR),
    "pair_in_lists": Case(
        ({**CHOICE, "chosen": ["x"], "rejected": ["y"]},),
        "chosen `chosen` is a list, not a string.",
        "data.columns.chosen",
        shape=DPO,
        ranking=True,
        columns=PAIR,
    ),
    "pair_half": Case(
        (CHOICE, {**CHOICE, "rejected": None}), "no rejected", shape=DPO, ranking=True, columns=PAIR, warns=True
    ),
    "pair_unmapped": Case((CHOICE,), "no column for chosen, no column for rejected", shape=DPO, ranking=True),
    "pair_without_ranking": Case((ROW,), "ranking is false", "data.ranking", shape=DPO),
    "ranking_in_sft": Case(
        (CHOICE,), "ranking is true", "data.ranking", ranking=True, columns={**PAIR, "response": "chosen"}
    ),
    "marked": Case(({**ROW, "label": True}, {**ROW, "label": False}), shape=KTO, columns=MARKED),
    "marked_in_words": Case(
        ({**ROW, "label": "true"}, {**ROW, "label": "false"}),
        "kto_tag `label` is a string, not true or false",
        "data.columns.kto_tag",
        shape=KTO,
        columns=MARKED,
    ),
    "marked_in_part": Case(
        ({**ROW, "label": True}, {**ROW, "label": None}), "no mark (`label`", shape=KTO, columns=MARKED, warns=True
    ),
    "mark_unmapped": Case(({**ROW, "label": True},), "no column for kto_tag", shape=KTO),
    "marked_in_sft": Case(
        ({**ROW, "label": True},), "`label` marks rows of feedback", "data.columns.kto_tag", columns=MARKED
    ),
    "text": Case(({"text": "x"},), shape=PT, columns={"prompt": "text"}),
    "text_is_number": Case(
        ({"text": 3},), "prompt `text` is an integer", "data.columns.prompt", shape=PT, columns={"prompt": "text"}
    ),
    "text_absent": Case(
        ({"content": "x"},), "no column `text`", "data.columns.prompt", shape=PT, columns={"prompt": "text"}
    ),
    "prompts": Case(({"q": "x"},), shape=PROMPT, columns={"prompt": "q"}),
    "sharegpt": Case((TALK, {"conversations": chat("s", "q", "a", roles="shg")}), format="sharegpt"),
    "sharegpt_tools": Case(({"conversations": chat("q", "f", "o", "a", roles="hfog")},), format="sharegpt"),
    "sharegpt_absent": Case(({"dialog": chat("q", "a")},), "no column `conversations`", format="sharegpt"),
    "sharegpt_all_odd": Case(({"conversations": chat("q")},), "no row can be used", format="sharegpt"),
    "sharegpt_some_odd": Case(
        (TALK, {"conversations": chat("q")}), "1 messages besides the system's", format="sharegpt", warns=True
    ),
    "sharegpt_some_empty": Case((TALK, {"conversations": []}), "0 messages besides", format="sharegpt", warns=True),
    "sharegpt_some_not_alternating": Case(
        (TALK, {"conversations": chat("q", "q", roles="hh")}),
        "message 2 is from `human`",
        format="sharegpt",
        warns=True,
    ),
    "sharegpt_some_stranger": Case(
        (TALK, {"conversations": chat("q", "q", roles="hx")}),
        "message 2 is from `stranger`",
        format="sharegpt",
        warns=True,
    ),
    "sharegpt_other_tags": Case(
        ({"conversations": said(("user", "q"), ("assistant", "a"))},),
        "message 1 has no `from`.",
        "data.tags.role_tag",
        format="sharegpt",
    ),
    "sharegpt_own_tags": Case(
        ({"messages": said(("user", "q"), ("assistant", "a"))},), format="sharegpt", columns=MESSAGES, tags=OPENAI_TAGS
    ),
    "sharegpt_null_content": Case(
        ({"conversations": [{"from": "human", "value": "q"}, {"from": "gpt", "value": None}]},),
        "the content of message 2 is null",
        format="sharegpt",
    ),
    "sharegpt_text": Case(({"conversations": "q"},), "`conversations` is a string, not a list", format="sharegpt"),
    "sharegpt_null": Case((TALK, {"conversations": None}), "`conversations` is null, not a list", format="sharegpt"),
    "chat_pair": Case((CHAT_CHOICE,), format="sharegpt", shape=DPO, ranking=True, columns=CHAT_PAIR),
    "chat_pair_of_strings": Case(
        ({**CHAT_CHOICE, "chosen": "x", "rejected": "y"},),
        "chosen `chosen` is a string, not a message.",
        format="sharegpt",
        shape=DPO,
        ranking=True,
        columns=CHAT_PAIR,
    ),
    "chat_pair_of_strangers": Case(
        ({**CHAT_CHOICE, "chosen": {"from": "bot", "value": "x"}},),
        "chosen is from `bot`",
        "data.columns.chosen",
        format="sharegpt",
        shape=DPO,
        ranking=True,
        columns=CHAT_PAIR,
    ),
    "chat_pair_some_even": Case(
        (CHAT_CHOICE, {**CHAT_CHOICE, **TALK}),
        "an odd number",
        format="sharegpt",
        shape=DPO,
        ranking=True,
        columns=CHAT_PAIR,
        warns=True,
    ),
    "chat_marked": Case(
        ({**OPEN, "label": True}, {**OPEN, "label": False}),
        format="sharegpt",
        shape=KTO,
        columns={**MESSAGES, "kto_tag": "label"},
        tags=OPENAI_TAGS,
    ),
    "openai": Case((OPEN,), format="openai", columns=MESSAGES, tags=OPENAI_TAGS),
    "openai_default_tags": Case(
        (OPEN,), "message 1 has no `from`.", "data.tags.role_tag", format="openai", columns=MESSAGES
    ),
    "openai_tool_answers": Case(
        ({"messages": said(("user", "q"), ("function", "f"), ("tool", "1"), ("tool", "2"), ("assistant", "a"))},),
        format="openai",
        columns=MESSAGES,
        tags=OPENAI_TAGS,
    ),
    "openai_tool_calls": Case(
        (
            {
                "messages": [
                    *said(("user", "q"), tool_calls=None),
                    *said(("assistant", None), tool_calls=[{"function": {"name": "f"}}]),
                    *said(("tool", "1"), ("assistant", "a"), tool_calls=None),
                ]
            },
        ),
        format="openai",
        columns=MESSAGES,
        tags=OPENAI_TAGS,
    ),
    "openai_stranger": Case(
        ({"messages": said(("user", "q"), ("bot", "a"))},),
        "message 2 is from `bot`, which no tag names.",
        "data.tags.role_tag",
        format="openai",
        columns=MESSAGES,
        tags=OPENAI_TAGS,
    ),
    "openai_some_trailing_tools": Case(
        (OPEN, {"messages": said(("user", "q"), ("tool", "1"))}),
        "1 messages besides",
        format="openai",
        columns=MESSAGES,
        tags=OPENAI_TAGS,
        warns=True,
    ),
    "chat_text_broken": Case((TALK, {"conversations": []}), "0 messages", format="sharegpt", shape=PT),
}


def sample_of(case: Case, tmp_path: Path) -> Sample:
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in case.rows), encoding="utf-8")
    sample = read(path, limit=None)
    assert sample.problems == ()
    return sample


def verdict(case: Case, tmp_path: Path) -> list[Problem]:
    return list(check(case.dataset(), sample_of(case, tmp_path), case.shape))


@pytest.mark.parametrize("name", CASES)
def test_rows_that_the_trainer_cannot_use_are_found_and_others_pass(name: str, tmp_path: Path) -> None:
    case = CASES[name]
    found = verdict(case, tmp_path)
    assert [problem.is_error for problem in found] == ([not case.warns] if case.says else [])
    for problem in found:
        assert case.says in problem.what
        assert problem.key == case.key


TURNS = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]
OTHER = [TURNS[0], {"role": "assistant", "content": "b"}]
RESPONSES = {"prompt": "prompt", "response": "response"}
WHOLE = {"chosen": "chosen", "rejected": "rejected"}
RICH: dict[str, Case] = {
    "list": Case(({"prompt": "q", "response": ["a", "b"]},), columns=RESPONSES),
    "list_with_an_empty_one": Case(
        ({"prompt": "q", "response": ["a", ""]},), "an empty response", columns=RESPONSES, warns=True
    ),
    "list_of_numbers": Case(
        ({"prompt": "q", "response": [1]},), "an integer, neither text nor messages", "data.columns.response",
        columns=RESPONSES,
    ),
    "message": Case(({"prompt": "q", "response": TURNS[1]},), columns=RESPONSES),
    "message_without_content": Case(
        ({"prompt": "q", "response": {"role": "assistant"}},), "a message without `content`", "data.columns.response",
        columns=RESPONSES,
    ),
    "prompt_of_messages": Case(({"prompt": TURNS[:1], "response": "a"},), columns=RESPONSES),
    "pair_of_lists": Case(
        ({"prompt": "q", "chosen": ["a", "c"], "rejected": ["b", "d"]},), columns={"prompt": "prompt", **WHOLE},
        shape=DPO,
        ranking=True,
    ),
    "pair_of_equal_lists": Case(
        ({"prompt": "q", "chosen": ["a"], "rejected": ["a"]},), "chosen and rejected are equal.",
        columns={"prompt": "prompt", **WHOLE}, shape=DPO, ranking=True, warns=True,
    ),
    "conversations": Case(({"chosen": TURNS, "rejected": OTHER},), columns=WHOLE, shape=DPO, ranking=True),
    "conversations_of_a_chat_format": Case(
        ({"chosen": TURNS, "rejected": OTHER},), columns=WHOLE, shape=DPO, ranking=True, format="openai",
        tags=OPENAI_TAGS,
    ),
    "named_prompt": Case(
        ({"id": "x", "prompt": "q", "response": "a"},), columns={"prompt_id": "id", **RESPONSES}
    ),
    "absent_name": Case(
        ({"prompt": "q", "response": "a"},), "no column `id`", "data.columns.prompt_id",
        columns={"prompt_id": "id", **RESPONSES},
    ),
}  # fmt: skip
"""Rows of a trainer that takes responses of any form."""


@pytest.mark.parametrize("name", RICH)
def test_responses_of_any_form_are_for_trainers_that_take_them(name: str, tmp_path: Path) -> None:
    case = RICH[name]
    found = list(check(case.dataset(), sample_of(case, tmp_path), case.shape, rich=True))
    assert [problem.is_error for problem in found] == ([not case.warns] if case.says else [])
    assert [(case.says in problem.what, problem.key) for problem in found] == [(True, case.key)] * len(found)
    if not case.says and name != "named_prompt":
        assert any(problem.is_error for problem in verdict(case, tmp_path))


CONVERT = """
    import json, sys
    import datasets
    from llamafactory.data.converter import get_dataset_converter
    from llamafactory.data.parser import get_dataset_list
    from llamafactory.hparams import DataArguments

    datasets.disable_progress_bar()

    def usable(shape, prompt, response):  # as the processors of the stages drop rows
        if any(not isinstance(message["content"], str) for message in prompt + response):
            raise TypeError("templates take strings alone")
        if shape == "text":
            prompt[0]["content"]
            return True
        wanted = {"prompt-response": (1,), "prompt": (0, 1), "preference": (2,), "feedback": (2,)}[shape]
        return len(prompt) % 2 == 1 and len(response) in wanted

    def verdict(case, cache):
        attr = get_dataset_list(["rows"], {"rows": case["info"]})[0]
        rows = datasets.load_dataset("json", data_files=[case["file"]], split="train", cache_dir=cache)
        if attr.ranking != (case["shape"] == "preference"):  # data/loader.py
            return "error"
        convert = get_dataset_converter(attr.formatting, attr, DataArguments())
        try:
            used = []
            for row in rows:
                done = convert(row)
                used.append(usable(case["shape"], done["_prompt"], done["_response"]))
        except (KeyError, TypeError, ValueError, IndexError):
            return "error"
        return "" if all(used) else "warning" if any(used) else "error"

    for line in sys.stdin:
        case = json.loads(line)
        print("VERDICT", json.dumps([case["name"], verdict(case, sys.argv[1])]))
"""


@needs_llamafactory
def test_the_real_converters_agree_with_every_verdict(tmp_path: Path) -> None:
    questions = []
    for name, case in CASES.items():
        folder = tmp_path / name
        folder.mkdir()
        dataset = drop_absent_optional(case.dataset(), sample_of(case, folder))
        info: dict[str, object] = {"file_name": "rows.jsonl", "formatting": case.format, "ranking": case.ranking}
        info |= {part: dict(names) for part in ("columns", "tags") if (names := getattr(dataset, part))}
        file = str(folder / "rows.jsonl")
        questions.append(json.dumps({"name": name, "info": info, "file": file, "shape": case.shape.value}))
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(CONVERT), str(tmp_path / "cache")],
        input="\n".join(questions),
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "HF_HUB_OFFLINE": "1", "HF_DATASETS_CACHE": str(tmp_path / "cache")},
    )
    assert done.returncode == 0, done.stderr[-2000:]
    answers = [json.loads(line[8:]) for line in done.stdout.splitlines() if line.startswith("VERDICT ")]
    ours = {name: "" if not case.says else "warning" if case.warns else "error" for name, case in CASES.items()}
    assert dict(answers) == ours


@pytest.mark.parametrize(
    ("name", "fix"),
    [
        ("alpaca_question_answer", "Set data.columns.prompt=question (was query)."),
        ("alpaca_all_defaults_absent", "Set data.columns.prompt=question data.columns.response=answer."),
        ("alpaca_response_unmapped", "Set data.columns.response=output."),
        ("alpaca_absent_system", "Set data.columns.system=sys (was system)."),
        (
            "pair_unmapped",
            "Set data.columns.prompt=instruction data.columns.chosen=chosen data.columns.rejected=rejected.",
        ),
        ("sharegpt_absent", "Set data.columns.messages=dialog."),
        (
            "openai_default_tags",
            (
                "Set data.tags.role_tag=role data.tags.content_tag=content data.tags.user_tag=user "
                "data.tags.assistant_tag=assistant data.tags.observation_tag=tool data.tags.system_tag=system."
            ),
        ),
    ],
)
def test_the_fix_is_the_setting_itself(name: str, fix: str, tmp_path: Path) -> None:
    assert [problem.fix for problem in verdict(CASES[name], tmp_path)] == [fix]


QA = ({"question": "q", "answer": "a"},)
ENTRY = "In the entry `rows` of the dataset_info.json, set"


@pytest.mark.parametrize(
    ("case", "fix"),
    [
        (
            Case(QA, columns={"prompt": "query", "response": "answer"}),
            f"{ENTRY} columns.prompt to `question` (was query).",
        ),
        (Case(QA), f"{ENTRY} columns.prompt to `question` and columns.response to `answer`."),
        (
            Case(({"instruction": "q", "output": "a"},)),
            f"{ENTRY} columns.prompt to `instruction` and columns.response to `output`.",
        ),
        (Case(({"a": "b"},)), "Name the columns with columns in the entry `rows` of the dataset_info.json."),
        (
            Case(({"a": "b"},), columns={"prompt": "q", "response": "a"}),
            "Name one of these columns with columns in the entry `rows` of the dataset_info.json.",
        ),
        (Case(({"q": "b"},), columns={"prompt": "q"}), f"{ENTRY} columns.response to `COLUMN`."),
        (
            Case((CHOICE,), shape=DPO, columns=PAIR),
            (
                f"{ENTRY} ranking to `true`, columns.chosen to `chosen` and columns.rejected to `rejected`, "
                "or as the rows call these columns."
            ),
        ),
        (
            Case((CHOICE,), ranking=True, columns={**PAIR, "response": "chosen"}),
            f"{ENTRY} ranking to `false`, or choose a trainer of preferences.",
        ),
        (
            Case(({**ROW, "label": True},), columns=MARKED),
            "Remove columns.kto_tag in the entry `rows` of the dataset_info.json, or choose a trainer of feedback.",
        ),
        (
            Case((TALK,), format="sharegpt", columns={"messages": "conversations", "prompt": "p"}),
            "Remove columns.prompt in the entry `rows` of the dataset_info.json.",
        ),
        (
            Case(({"conversations": said(("user", "q"), ("assistant", "a"))},), format="sharegpt"),
            (
                f"{ENTRY} tags.role_tag to `role`, tags.content_tag to `content`, tags.user_tag to `user`, "
                "tags.assistant_tag to `assistant`, tags.observation_tag to `tool` and tags.system_tag to `system`."
            ),
        ),
        (
            Case(({"conversations": [{"who": "user", "value": "q"}]},), format="sharegpt"),
            "The messages have `who`, `value`; name them with tags in the entry `rows` of the dataset_info.json.",
        ),
    ],
)
@pytest.mark.parametrize("origin", ["data.names", "data.eval_names"])
def test_of_an_own_entry_the_fix_names_the_entry_and_the_problem_the_key_that_chose_it(
    case: Case, fix: str, origin: str, tmp_path: Path
) -> None:
    found = verdict(replace(case, origin=origin), tmp_path)
    assert [(problem.key, problem.fix) for problem in found] == [(origin, fix)]


def test_an_entry_that_the_data_section_chooses_is_known_for_one(tmp_path: Path) -> None:
    (tmp_path / "qa.json").write_text(json.dumps(QA), encoding="utf-8")
    entry = {"file_name": "qa.json", "columns": {"prompt": "query", "response": "answer"}}
    reference = tmp_path / "dataset_info.json"
    reference.write_text(json.dumps({"identity": entry}), encoding="utf-8")
    chosen = find(Data(dataset_info=str(reference), names=("identity",), eval_names=("identity",)))
    for dataset in chosen.datasets:
        (problem,) = check(dataset, read(tmp_path / "qa.json", limit=None), SFT)
        assert problem.fix == (
            "In the entry `identity` of the dataset_info.json, set columns.prompt to `question` (was query)."
        )
    assert [dataset.key for dataset in chosen.datasets] == ["data.names", "data.eval_names"]


@pytest.mark.parametrize("key", ["data.sets.mine", "data.sets.names"])
def test_of_a_named_set_the_fix_is_the_setting_of_that_set(key: str, tmp_path: Path) -> None:
    (problem,) = verdict(Case(QA, columns={"prompt": "query", "response": "answer"}, origin=key), tmp_path)
    assert (problem.key, problem.fix) == (f"{key}.columns.prompt", f"Set {key}.columns.prompt=question (was query).")


@pytest.mark.parametrize(
    ("case", "says"),
    [
        (Case(({**ROW, "output": ""}, ROW)), "an empty response."),
        (Case(({**ROW, "instruction": ""}, ROW)), "an empty prompt."),
        (Case(({**CHOICE, "rejected": "x"},), shape=DPO, ranking=True, columns=PAIR), "chosen and rejected are equal."),
        (
            Case(({**ROW, "label": True, "output": ""}, {**ROW, "label": False}), shape=KTO, columns=MARKED),
            "undesirable",
        ),
        (Case(({**ROW, "label": True},), shape=KTO, columns=MARKED), "every row is marked true"),
        (Case((TALK,), format="sharegpt", columns={"messages": "conversations", "prompt": "p"}), "have no prompt"),
    ],
)
def test_rows_that_train_but_are_odd_are_warnings(case: Case, says: str, tmp_path: Path) -> None:
    (problem,) = verdict(case, tmp_path)
    assert not problem.is_error
    assert says in problem.what


def test_a_column_with_another_role_is_not_proposed(tmp_path: Path) -> None:
    case = Case(({"question": "q", "text": "t"},), columns={"prompt": "query", "response": "question"})
    assert [problem.fix for problem in verdict(case, tmp_path)] == ["Set data.columns.prompt=text (was query)."]


def test_flaws_are_counted_and_the_first_row_is_named(tmp_path: Path) -> None:
    (problem,) = verdict(Case((ROW, {**ROW, "output": None}, ROW, {**ROW, "output": None})), tmp_path)
    assert problem.what.startswith("rows.jsonl line 2 and 1 more of the 4 rows looked at: no response")


def test_a_column_that_later_rows_may_have_says_how_to_look_further(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"question": "q", "answer": "a"}\n' * 3, encoding="utf-8")
    dataset = Case((), columns={"prompt": "query", "response": "answer"}).dataset()
    (problem,) = check(dataset, read(path, limit=2), SFT)
    assert problem.fix.splitlines()[1] == "If later rows have it: data.check=all looks at every row."


def test_rows_wrapped_in_one_object_are_told_apart_from_rows_of_other_columns(tmp_path: Path) -> None:
    (problem,) = verdict(Case(({"data": [dict(ROW)]},)), tmp_path)
    assert problem.fix == "The file is one object; make it the list that is its field `data`."


def test_without_rows_nothing_is_said_of_columns() -> None:
    assert list(check(Case(()).dataset(), Sample(), SFT)) == []


def test_giving_any_column_or_tag_drops_all_defaults() -> None:
    dataset = Case((), columns={"prompt": "q"}, tags={"role_tag": "role"}).dataset()
    assert effective_columns(dataset) == {"prompt": "q"}
    assert effective_tags(dataset) == {"role_tag": "role"}
    assert effective_columns(Case(()).dataset()) == {"prompt": "instruction", "query": "input", "response": "output"}
    assert effective_columns(Case((), format="text").dataset()) == {"prompt": "text"}


@pytest.mark.parametrize(
    ("columns", "given", "expected"),
    [
        (("instruction", "output"), {}, {"prompt": "instruction", "response": "output"}),
        (("instruction", "input", "output"), {}, {}),
        (("question", "answer"), {}, {}),
        (("instruction", "output"), {"prompt": "instruction"}, {"prompt": "instruction"}),
    ],
)
def test_only_an_absent_default_input_is_dropped(
    columns: tuple[str, ...], given: Mapping[str, str], expected: Mapping[str, str]
) -> None:
    dataset = Case((), columns=given).dataset()
    assert drop_absent_optional(dataset, Sample(columns=columns)).columns == expected


CHAT_ROW = {"messages": [{"role": "user", "content": "Why?"}, {"role": "assistant", "content": "So."}]}
GPT_ROW = {"conversations": [{"from": "human", "value": "Why?"}, {"from": "gpt", "value": "So."}]}
SIDES = {"chosen": {"from": "gpt", "value": "So."}, "rejected": {"from": "gpt", "value": "No."}}
ASKED = {"conversations": GPT_ROW["conversations"][:1]}


@pytest.mark.parametrize(
    ("data", "row", "shape", "fix"),
    [
        (Data(), CHAT_ROW, SFT, "Choose data=openai."),
        (Data(), GPT_ROW, SFT, "Choose data=sharegpt."),
        (
            Data(),
            CHAT_ROW | {"label": True},
            KTO,
            "Choose data=openai data.columns.messages=messages data.columns.kto_tag=label.",
        ),
        (Data(), ASKED | SIDES, DPO, "Choose data=sharegpt_preference."),
        (Data(format="sharegpt"), ASKED | SIDES, DPO, "Choose data=sharegpt_preference."),
        (Data(format="sharegpt"), {"instruction": "Why?", "output": "So."}, SFT, "Choose data=alpaca."),
    ],
)
def test_rows_of_another_kind_get_the_option_that_reads_them(
    data: Data, row: Mapping[str, Json], shape: RowShape, fix: str, tmp_path: Path
) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(f"{json.dumps(row)}\n")
    (dataset,) = find(replace(data, path=str(path))).datasets
    (problem,) = check(dataset, read(path, limit=None), shape)
    assert problem.key == "data"
    assert problem.fix == fix


def test_a_mapping_that_fits_is_taken_though_the_rows_have_messages_too(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(f"{json.dumps(CHAT_ROW | {'instruction': 'Why?', 'output': 'So.'})}\n")
    (dataset,) = find(Data(path=str(path))).datasets
    assert not list(check(dataset, read(path, limit=None), SFT))
