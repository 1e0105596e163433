"""What each shape of row becomes, before it is text."""

from __future__ import annotations

import pytest
from native_sets import OPENAI_TAGS, PAIR_COLUMNS, SFT_COLUMNS, SHAREGPT_TAGS
from smtrain_native.runtime.data_errors import DataError
from smtrain_native.runtime.row_shapes import Example, Flaw, RowReader
from smtrain_native.runtime.settings import DataSet


def user(text: str) -> dict[str, object]:
    return {"role": "user", "content": text}


def assistant(text: str) -> dict[str, object]:
    return {"role": "assistant", "content": text}


def system(text: str) -> dict[str, object]:
    return {"role": "system", "content": text}


def alpaca(**columns: str) -> DataSet:
    return DataSet(name="rows", role="train", files=(), columns=columns or SFT_COLUMNS)


def chat(style: str = "openai", **columns: str) -> DataSet:
    tags = OPENAI_TAGS if style == "openai" else SHAREGPT_TAGS
    return DataSet(name="rows", role="train", files=(), format=style, columns=columns, tags=tags)


def examples(dataset: DataSet, row: dict[str, object], kind: str = "sft") -> list[Example]:
    return list(RowReader(dataset, kind).examples(row, "rows.jsonl line 7"))


def example(dataset: DataSet, row: dict[str, object], kind: str = "sft") -> Example:
    (found,) = examples(dataset, row, kind)
    return found


# -------------------------------------------------------------------------------------------------------------- columns


def test_prompt_and_query_are_joined_by_a_newline():
    rows = alpaca(prompt="instruction", query="input", response="output")
    found = example(rows, {"instruction": "Add.", "input": "1 and 2", "output": "3"})
    assert found.prompt == (user("Add.\n1 and 2"),)
    assert found.responses == ((assistant("3"),),)


def test_an_empty_query_adds_no_newline():
    rows = alpaca(prompt="instruction", query="input", response="output")
    assert example(rows, {"instruction": "Add.", "input": "", "output": "3"}).prompt == (user("Add."),)
    assert example(rows, {"instruction": "Add.", "input": None, "output": "3"}).prompt == (user("Add."),)


def test_history_and_system_come_before_the_prompt():
    rows = alpaca(prompt="p", response="r", history="h", system="s")
    found = example(rows, {"p": "c", "r": "d", "h": [["a", "b"]], "s": "Be kind."})
    assert found.prompt == (system("Be kind."), user("a"), assistant("b"), user("c"))


def test_a_prompt_may_be_messages():
    found = example(alpaca(), {"prompt": [system("s"), user("a")], "response": "b"})
    assert found.prompt == (system("s"), user("a"))


def test_a_pair_has_two_responses():
    found = example(alpaca(**PAIR_COLUMNS), {"prompt": "p", "chosen": "c", "rejected": "r"}, "preference")
    assert found.responses == ((assistant("c"),), (assistant("r"),))


# ------------------------------------------------------------------------------------------------------------- messages


def test_sharegpt_messages_get_the_standard_names():
    rows = chat("sharegpt", messages="conversations", system="system")
    turns = [("system", "s"), ("human", "a"), ("gpt", "b"), ("human", "c"), ("gpt", "d")]
    found = example(rows, {"conversations": [{"from": role, "value": text} for role, text in turns]})
    assert found.prompt == (system("s"), user("a"), assistant("b"), user("c"))
    assert found.responses == ((assistant("d"),),)


def test_function_calls_and_observations_are_the_assistants_calls_and_tool_messages():
    rows = chat("sharegpt", messages="conversations", tools="tools")
    call = '{"name": "now", "arguments": {"zone": "UTC"}}'
    turns = [("human", "a"), ("function_call", call), ("observation", "12:00"), ("gpt", "Noon.")]
    row = {"conversations": [{"from": role, "value": text} for role, text in turns], "tools": '[{"name": "now"}]'}
    found = example(rows, row)
    called = {"type": "function", "function": {"name": "now", "arguments": {"zone": "UTC"}}}
    assert found.prompt[1:] == (
        {"role": "assistant", "content": "", "tool_calls": [called]},
        {"role": "tool", "content": "12:00"},
    )
    assert found.tools == ({"name": "now"},)
    assert found.flaw is Flaw.NONE


def test_openai_messages_keep_their_tool_calls():
    calls = [{"type": "function", "function": {"name": "now", "arguments": "{}"}}]
    said = [user("a"), {"role": "assistant", "content": None, "tool_calls": calls}]
    said += [{"role": "tool", "content": "1", "tool_call_id": "x"}, {"role": "tool", "content": "2"}, assistant("b")]
    found = example(chat(messages="messages"), {"messages": said})
    assert found.prompt[1] == {"role": "assistant", "content": "", "tool_calls": calls}
    assert found.prompt[2]["tool_call_id"] == "x"
    assert found.flaw is Flaw.NONE


def test_chosen_and_rejected_may_be_messages_beside_the_conversation():
    rows = chat("sharegpt", messages="conversations", chosen="chosen", rejected="rejected")
    row = {
        "conversations": [{"from": "human", "value": "a"}],
        "chosen": {"from": "gpt", "value": "b"},
        "rejected": {"from": "gpt", "value": "c"},
    }
    found = example(rows, row, "preference")
    assert (found.prompt, found.responses) == ((user("a"),), ((assistant("b"),), (assistant("c"),)))


@pytest.mark.parametrize("rows", [alpaca(chosen="chosen", rejected="rejected"), alpaca(**PAIR_COLUMNS)])
def test_what_two_whole_conversations_share_is_the_prompt(rows: DataSet):
    shared = [system("s"), user("a"), assistant("b"), user("c")]
    row = {"prompt": "a", "chosen": [*shared, assistant("d")], "rejected": [*shared, assistant("e")]}
    found = example(rows, row, "preference")
    assert found.prompt == tuple(shared)
    assert found.responses == ((assistant("d"),), (assistant("e"),))


def test_two_equal_conversations_share_all_but_the_last_message():
    said = [user("a"), assistant("b")]
    found = example(alpaca(chosen="chosen", rejected="rejected"), {"chosen": said, "rejected": said}, "preference")
    assert found.prompt == (user("a"),)
    assert found.flaw is Flaw.IDENTICAL


def test_conversations_that_part_at_a_question_share_only_what_comes_before_an_answer():
    chosen = [user("a"), assistant("b"), user("c"), assistant("d")]
    rejected = [user("a"), assistant("b"), user("x"), assistant("y")]
    found = example(alpaca(chosen="c", rejected="r"), {"c": chosen, "r": rejected}, "preference")
    assert found.prompt == (user("a"),)
    assert found.responses == (tuple(chosen[1:]), tuple(rejected[1:]))


@pytest.mark.parametrize("rows", [alpaca(**PAIR_COLUMNS), chat(**PAIR_COLUMNS)], ids=["alpaca", "openai"])
def test_a_prompt_of_messages_is_followed_by_responses_of_messages(rows: DataSet):
    row = {"prompt": [user("a")], "chosen": [assistant("b")], "rejected": [assistant("c")]}
    found = example(rows, row, "preference")
    assert (found.prompt, found.responses) == ((user("a"),), ((assistant("b"),), (assistant("c"),)))


# ----------------------------------------------------------------------------------------------------------- prompt_ids


def test_the_rows_own_prompt_id_is_taken():
    assert example(alpaca(), {"prompt_id": 17, "prompt": "a", "response": "b"}).prompt_id == "17"


def test_without_one_the_prompt_and_its_history_decide():
    rows = alpaca(prompt="p", response="r", history="h")
    first = example(rows, {"p": "a", "r": "b", "h": []}).prompt_id
    assert first == example(rows, {"p": "a", "r": "other", "h": None}).prompt_id
    assert first != example(rows, {"p": "a", "r": "b", "h": [["q", "a"]]}).prompt_id
    assert first != example(rows, {"p": "A", "r": "b", "h": []}).prompt_id
    assert len(first) == 32


def test_a_list_of_responses_makes_numbered_samples():
    found = examples(alpaca(), {"prompt_id": "q", "prompt": "a", "response": ["b", "c"]})
    assert [each.prompt_id for each in found] == ["q#0", "q#1"]
    assert [each.responses for each in found] == [((assistant("b"),),), ((assistant("c"),),)]


def test_lists_of_chosen_and_rejected_are_paired_in_order():
    row = {"prompt_id": "q", "prompt": "a", "chosen": ["b", "c"], "rejected": ["x", "y"]}
    found = examples(alpaca(**PAIR_COLUMNS), row, "preference")
    assert [(each.prompt_id, each.responses[0][0]["content"], each.responses[1][0]["content"]) for each in found] == [
        ("q#0", "b", "x"),
        ("q#1", "c", "y"),
    ]


# ---------------------------------------------------------------------------------------------------------------- flaws


@pytest.mark.parametrize(
    ("row", "flaw"),
    [
        ({"prompt": "a", "response": ""}, Flaw.EMPTY_RESPONSE),
        ({"prompt": "a", "response": None}, Flaw.NO_RESPONSE),
        ({"prompt": "a"}, Flaw.NO_RESPONSE),
        ({"prompt": "a", "response": []}, Flaw.NO_RESPONSE),
        ({"prompt": [assistant("a")], "response": "b"}, Flaw.TURNS),
        ({"prompt": [user("a"), user("b")], "response": "b"}, Flaw.TURNS),
        ({"prompt": [], "response": "b"}, Flaw.TURNS),
        ({"prompt": "a", "response": user("b")}, Flaw.TURNS),
        ({"prompt": "a", "response": "b"}, Flaw.NONE),
    ],
)
def test_flaws_of_a_row(row: dict[str, object], flaw: Flaw):
    assert example(alpaca(), row).flaw is flaw


@pytest.mark.parametrize(
    ("said", "flaw"),
    [
        ([user("a"), assistant("b")], Flaw.NONE),
        ([user("a"), assistant("b"), user("c")], Flaw.TURNS),
        ([assistant("b")], Flaw.TURNS),
        ([user("a"), {"role": "developer", "content": "x"}, assistant("b")], Flaw.TURNS),
        ([system("a")], Flaw.TURNS),
        ([], Flaw.NO_RESPONSE),
        (None, Flaw.NO_RESPONSE),
        ([user("a"), assistant("")], Flaw.EMPTY_RESPONSE),
    ],
)
def test_flaws_of_messages(said: list[dict[str, object]] | None, flaw: Flaw):
    assert example(chat(messages="messages"), {"messages": said}).flaw is flaw


@pytest.mark.parametrize(
    ("chosen", "rejected", "flaw"),
    [
        ("b", "b", Flaw.IDENTICAL),
        ("", "b", Flaw.EMPTY_RESPONSE),
        ("b", "", Flaw.EMPTY_RESPONSE),
        ("b", None, Flaw.NO_RESPONSE),
        ([user("a"), assistant("b")], [user("z"), assistant("c")], Flaw.TURNS),
        ("b", "b ", Flaw.NONE),
    ],
)
def test_flaws_of_a_pair(chosen: object, rejected: object, flaw: Flaw):
    row = {"prompt": "a", "chosen": chosen, "rejected": rejected}
    assert example(alpaca(**PAIR_COLUMNS), row, "preference").flaw is flaw


# --------------------------------------------------------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("rows", "row", "says"),
    [
        (alpaca(), {"prompt": 5, "response": "b"}, "prompt (column `prompt`) is int, not text"),
        (alpaca(), {"prompt": "a", "response": 5}, "response (column `response`) is int, neither text nor messages"),
        (alpaca(), {"prompt": "a", "response": ["b", 5]}, "response (column `response`), item 2 is int"),
        (alpaca(), {"prompt": "a", "response": {"text": "b"}}, "is an object without `role`; it has 'text'"),
        (
            alpaca(),
            {"prompt": [{"role": "user", "content": 1}], "response": "b"},
            "message 1 is a message whose `content`",
        ),
        (
            alpaca(prompt="p", response="r", history="h"),
            {"p": "a", "r": "b", "h": [["a"]]},
            "history (column `h`) is not",
        ),
        (alpaca(prompt="p", response="r", system="s"), {"p": "a", "r": "b", "s": ["x"]}, "system (column `s`) is list"),
        (alpaca(prompt="p", response="r", tools="t"), {"p": "a", "r": "b", "t": "{"}, "tools (column `t`) is not JSON"),
        (chat(messages="m"), {"m": "hello"}, "messages (column `m`) is str, not a list of messages"),
        (chat(messages="m"), {"m": ["hello"]}, "messages (column `m`), message 1 is str, not an object"),
    ],
)
def test_a_value_of_a_wrong_type_is_an_error_that_names_the_line_and_the_column(
    rows: DataSet, row: dict[str, object], says: str
):
    with pytest.raises(DataError) as caught:
        examples(rows, row)
    assert str(caught.value).startswith("rows.jsonl line 7: ")
    assert says in str(caught.value)


def test_lists_of_different_length_are_an_error():
    row = {"prompt": "a", "chosen": ["b", "c"], "rejected": ["x"]}
    with pytest.raises(DataError, match="2 chosen and 1 rejected responses"):
        examples(alpaca(**PAIR_COLUMNS), row, "preference")


def test_a_role_without_a_column_is_an_error_before_any_row():
    with pytest.raises(DataError, match="no column is named for chosen, rejected"):
        RowReader(alpaca(), "preference")
