"""Where the prompt ends and which tokens are trained, held against the tokenizer and its chat template themselves."""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from native_sets import OPENAI_TAGS
from smtrain_native.runtime.data_errors import DataError
from smtrain_native.runtime.encode import Encoder, Encoding
from smtrain_native.runtime.joining import Encoded
from smtrain_native.runtime.row_shapes import RowReader
from smtrain_native.runtime.settings import DataSet
from transformers import AutoTokenizer, PreTrainedTokenizerBase, PreTrainedTokenizerFast

Message = dict[str, object]

# As Qwen3's: only the last answer shows its thought, and one that has none gets an empty one.
THINKING = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' }}"
    "{% if message['role'] == 'assistant' and loop.last %}{{ '<think>\\n\\n</think>\\n\\n' }}{% endif %}"
    "{{ message['content'].strip() + '<|im_end|>\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
# As DeepSeek-R1's: the opened turn begins a thought that a given answer does not have.
OPENS_THOUGHT = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n<think>\\n' }}{% endif %}"
)
# As Llama 2's: no newline, and the answer follows a space.
INSTRUCTION = (
    "{% for message in messages %}{% if message['role'] == 'user' %}{{ '[INST] ' + message['content'] + ' [/INST]' }}"
    "{% elif message['role'] == 'system' %}{{ raise_exception('System role not supported') }}"
    "{% else %}{{ ' ' + message['content'] + ' ' + eos_token }}{% endif %}{% endfor %}"
)
CONVERSATION: list[Message] = [
    {"role": "system", "content": "Be kind."},
    {"role": "user", "content": "Hello, who are you?"},
    {"role": "assistant", "content": "A model."},
    {"role": "user", "content": "Naïve? 日本 🙂"},
    {"role": "assistant", "content": "  Yes.\n\nNo."},
]


def tokenizer_with(model: Path, folder: Path, template: str | None) -> Path:
    folder.mkdir()
    for file in model.glob("*token*"):
        shutil.copy(file, folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.chat_template = template
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def with_template(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str | None], Path]:
    return lambda template: tokenizer_with(tiny_model, tmp_path_factory.mktemp("tokenizers") / "t", template)


@pytest.fixture(scope="session")
def spaced(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tokenizer that puts a space in front of each text and its bos before that, as Llama 2's does."""
    from tiny_model import example_texts
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

    bpe = Tokenizer(models.BPE(unk_token="<unk>"))
    bpe.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first")
    bpe.decoder = decoders.Metaspace(prepend_scheme="first")
    trainer = trainers.BpeTrainer(vocab_size=800, special_tokens=["<unk>", "<s>", "</s>"], show_progress=False)
    bpe.train_from_iterator(example_texts(), trainer)
    bpe.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    folder = tmp_path_factory.mktemp("tokenizers") / "spaced"
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=bpe, bos_token="<s>", eos_token="</s>", unk_token="<unk>", chat_template=INSTRUCTION
    )
    tokenizer.save_pretrained(folder)
    return folder


def encoder(folder: Path, kind: str = "sft", prompt_type: str = "chat", *, append_eos: bool = True) -> Encoder:
    return Encoder(Encoding(tokenizer=folder, digest="", kind=kind, prompt_type=prompt_type, append_eos=append_eos))


def encoded(encode: Encoder, *rows: dict[str, object], kind: str = "sft", style: str = "openai") -> list[Encoded]:
    names = {"messages", "prompt", "response", "chosen", "rejected", "system", "tools"}
    columns = {name: name for row in rows for name in row if name in names}
    dataset = DataSet(
        name="rows",
        role="train",
        files=(),
        format=style,
        columns=columns,
        tags=OPENAI_TAGS if style == "openai" else {},
    )
    reader = RowReader(dataset, kind)
    return encode.encode([each for row in rows for each in reader.examples(row, "rows.jsonl line 7")])


def rendered(tokenizer: PreTrainedTokenizerBase, messages: Sequence[Message], *, opened: bool = False) -> list[int]:
    text = tokenizer.apply_chat_template(list(messages), tokenize=False, add_generation_prompt=opened)
    return list(tokenizer(text, add_special_tokens=False)["input_ids"])


def trained_text(tokenizer: PreTrainedTokenizerBase, sample: Encoded) -> list[str]:
    """Returns the text of each run of tokens that are trained."""
    tokens, mask = sample.responses[0], sample.masks[0] or [True] * len(sample.responses[0])
    runs = itertools.groupby(zip(tokens, mask, strict=True), key=lambda each: each[1])
    return [tokenizer.decode([token for token, _ in run]) for trained, run in runs if trained]


# ----------------------------------------------------------------------------------------------------------- completion


def test_a_completion_is_prompt_and_response_tokenised_apart_and_the_end(tiny_model: Path):
    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    row = {"prompt": "Naïve\n", "response": "日本 🙂"}
    (found,) = encoded(encoder(tiny_model, prompt_type="completion"), row, style="alpaca")
    assert found.prompt == tokenizer("Naïve\n")["input_ids"]
    assert found.responses == ([*tokenizer("日本 🙂")["input_ids"], tokenizer.eos_token_id],)
    assert found.masks == (None,)


def test_append_eos_false_leaves_the_end_out(tiny_model: Path):
    row = {"prompt": "a\n", "response": "b"}
    with_end, without = (
        encoded(encoder(tiny_model, prompt_type="completion", append_eos=end), row, style="alpaca")[0].responses[0]
        for end in (True, False)
    )
    assert with_end[:-1] == without


def test_both_responses_of_a_pair_end(tiny_model: Path):
    row = {"prompt": "a\n", "chosen": "b", "rejected": "c"}
    (found,) = encoded(encoder(tiny_model, "preference", "completion"), row, kind="preference", style="alpaca")
    end = AutoTokenizer.from_pretrained(tiny_model).eos_token_id
    assert [tokens[-1] for tokens in found.responses] == [end, end]
    assert found.responses[0] != found.responses[1]


def test_the_prompt_begins_with_the_tokenizers_bos_and_the_response_does_not(spaced: Path):
    row = {"prompt": "Count\n", "response": "one"}
    (found,) = encoded(encoder(spaced, prompt_type="completion"), row, style="alpaca")
    tokenizer = AutoTokenizer.from_pretrained(spaced)
    assert found.prompt == tokenizer("Count\n")["input_ids"]
    assert found.prompt[0] == tokenizer.bos_token_id
    assert found.responses[0][:-1] == tokenizer("one", add_special_tokens=False)["input_ids"]


def test_only_a_completion_whose_prompt_does_not_end_in_a_newline_is_unended(tiny_model: Path):
    completion = encoder(tiny_model, prompt_type="completion")
    rows = [{"prompt": prompt, "response": "b"} for prompt in ("a\n", "a", "a\n ", "")]
    assert [each.unended for each in encoded(completion, *rows, style="alpaca")] == [False, True, True, True]
    assert not encoded(encoder(tiny_model), rows[1], style="alpaca")[0].unended


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": [{"role": "user", "content": "a"}, *CONVERSATION[2:4]], "response": "b"},
        {"prompt": "a", "response": "b", "system": "s"},
        {"prompt": "a", "response": "b", "tools": "[{}]"},
    ],
    ids=["history", "system", "tools"],
)
def test_a_completion_of_more_than_a_prompt_and_a_response_is_an_error(tiny_model: Path, row: dict[str, object]):
    with pytest.raises(DataError, match=r"rows\.jsonl line 7: prompt_type=completion joins .* Set prompt_type=chat"):
        encoded(encoder(tiny_model, prompt_type="completion"), row, style="alpaca")


# ----------------------------------------------------------------------------------------------------------------- chat


def test_the_prompt_is_the_opened_template_and_the_response_the_rest(tiny_model: Path):
    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    (found,) = encoded(encoder(tiny_model), {"messages": CONVERSATION[:3]})
    assert found.prompt == rendered(tokenizer, CONVERSATION[:2], opened=True)
    assert found.prompt + found.responses[0] == rendered(tokenizer, CONVERSATION[:3])
    assert tokenizer.decode(found.responses[0]) == "A model.<|im_end|>\n"
    assert found.masks == (None,)


def test_every_turn_of_the_assistant_is_trained_and_nothing_else(tiny_model: Path):
    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    (found,) = encoded(encoder(tiny_model), {"messages": CONVERSATION})
    assert found.prompt == rendered(tokenizer, CONVERSATION[:2], opened=True)
    assert tokenizer.decode(found.prompt + found.responses[0]) == tokenizer.apply_chat_template(
        CONVERSATION, tokenize=False
    )
    assert trained_text(tokenizer, found) == ["A model.<|im_end|>\n", "  Yes.\n\nNo.<|im_end|>\n"]


def test_a_history_is_trained_as_well(tiny_model: Path):
    row = {"prompt": CONVERSATION[:4], "response": "Yes."}
    (found,) = encoded(encoder(tiny_model), row, style="alpaca")
    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    assert trained_text(tokenizer, found) == ["A model.<|im_end|>\n", "Yes.<|im_end|>\n"]


def test_the_history_of_a_pair_is_its_prompt(tiny_model: Path):
    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    row = {"prompt": CONVERSATION[:4], "chosen": "Yes.", "rejected": "No."}
    (found,) = encoded(encoder(tiny_model, "preference"), row, kind="preference", style="alpaca")
    assert found.prompt == rendered(tokenizer, CONVERSATION[:4], opened=True)
    assert [tokenizer.decode(tokens) for tokens in found.responses] == ["Yes.<|im_end|>\n", "No.<|im_end|>\n"]
    assert found.masks == (None, None)


def test_what_the_user_says_within_a_response_is_not_trained(tiny_model: Path):
    chosen = [*CONVERSATION[2:4], {"role": "assistant", "content": "Yes."}]
    row = {"prompt": CONVERSATION[:2], "chosen": chosen, "rejected": "No."}
    (found,) = encoded(encoder(tiny_model, "preference"), row, kind="preference", style="alpaca")
    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    assert trained_text(tokenizer, found) == ["A model.<|im_end|>\n", "Yes.<|im_end|>\n"]
    assert found.masks[1] is None


@given(
    texts=st.lists(st.text(st.characters(codec="utf-8"), min_size=1, max_size=20), min_size=1, max_size=6),
    answer=st.text(st.characters(codec="utf-8"), min_size=1, max_size=20),
)
def test_any_text_comes_back_whole(tiny_model: Path, texts: list[str], answer: str):
    texts = texts if len(texts) % 2 else texts[1:] or texts
    said = [{"role": ("user", "assistant")[at % 2], "content": text} for at, text in enumerate([*texts, answer])]
    said = said if len(said) % 2 == 0 else said[:-1]
    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    (found,) = encoded(encoder(tiny_model), {"messages": said})
    whole = tokenizer.apply_chat_template(said, tokenize=False)
    assert tokenizer.decode(found.prompt + found.responses[0]) == tokenizer.decode(
        tokenizer(whole, add_special_tokens=False)["input_ids"]
    )
    assert found.prompt == rendered(tokenizer, said[:1], opened=True)
    trained = sum(found.masks[0]) if found.masks[0] else len(found.responses[0])
    assert 0 < trained <= len(found.responses[0])


# ------------------------------------------------------------------------------------ templates that add or drop things


def test_a_thought_that_the_template_adds_to_the_last_answer_is_trained(with_template: Callable[[str], Path]):
    folder = with_template(THINKING)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    (found,) = encoded(encoder(folder), {"messages": CONVERSATION})
    assert found.prompt == rendered(tokenizer, CONVERSATION[:2], opened=True)
    assert trained_text(tokenizer, found) == [
        "A model.<|im_end|>\n",
        "<think>\n\n</think>\n\nYes.\n\nNo.<|im_end|>\n",
    ]
    whole = tokenizer.apply_chat_template(CONVERSATION, tokenize=False)
    assert tokenizer.decode(found.prompt + found.responses[0]) == whole


@pytest.mark.parametrize("answer", ["Yes.", "<think>me</think>", "<", "Hello, who are you?"])
def test_a_thought_that_only_the_opened_turn_has_is_no_part_of_the_sample(
    with_template: Callable[[str], Path], answer: str
):
    folder = with_template(OPENS_THOUGHT)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    (found,) = encoded(encoder(folder), {"messages": [*CONVERSATION[:2], {"role": "assistant", "content": answer}]})
    assert tokenizer.decode(found.prompt).endswith("<|im_start|>assistant\n")
    assert tokenizer.decode(found.responses[0]) == f"{answer}<|im_end|>"


def test_a_pair_shares_its_prompt_under_a_template_that_opens_a_thought(with_template: Callable[[str], Path]):
    folder = with_template(OPENS_THOUGHT)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    row = {"prompt": "Q", "chosen": "Yes.", "rejected": "<think>Never.</think>"}
    (found,) = encoded(encoder(folder, "preference"), row, kind="preference", style="alpaca")
    assert tokenizer.decode(found.prompt) == "<|im_start|>user\nQ<|im_end|><|im_start|>assistant\n"
    assert [tokenizer.decode(each) for each in found.responses] == ["Yes.<|im_end|>", "<think>Never.</think><|im_end|>"]


def test_a_response_that_merges_with_the_prompt_keeps_the_prompt_as_the_model_will_see_it(tiny_model: Path):
    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    said = [CONVERSATION[1], {"role": "assistant", "content": "\n\nYes."}]
    prompt, whole = rendered(tokenizer, said[:1], opened=True), rendered(tokenizer, said)
    (found,) = encoded(encoder(tiny_model), {"messages": said})
    assert found.prompt == prompt
    assert tokenizer.decode(prompt + found.responses[0]) == tokenizer.decode(whole)


def test_a_tokenizer_that_puts_a_space_in_front_gets_the_whole_text_at_once(spaced: Path):
    tokenizer = AutoTokenizer.from_pretrained(spaced)
    said = [{"role": role, "content": text} for role, text in zip(("user", "assistant") * 2, "abcd", strict=True)]
    (found,) = encoded(encoder(spaced), {"messages": said})
    assert found.prompt + found.responses[0] == rendered(tokenizer, said)
    assert found.prompt == rendered(tokenizer, said[:1], opened=True)
    assert [text.strip() for text in trained_text(tokenizer, found)] == ["b </s>", "d </s>"]


def test_a_pair_of_such_a_tokenizer_shares_its_prompt(spaced: Path):
    tokenizer = AutoTokenizer.from_pretrained(spaced)
    row = {"prompt": "a", "chosen": "yes", "rejected": "no"}
    (found,) = encoded(encoder(spaced, "preference"), row, kind="preference", style="alpaca")
    for text, tokens in zip(("yes", "no"), found.responses, strict=True):
        said = [{"role": "user", "content": "a"}, {"role": "assistant", "content": text}]
        assert found.prompt + tokens == rendered(tokenizer, said)


def test_tools_reach_the_template(with_template: Callable[[str], Path]):
    folder = with_template("{{ tools | tojson }}{% for message in messages %}{{ message['content'] }}{% endfor %}")
    row = {"messages": CONVERSATION[1:3], "tools": [{"name": "now"}]}
    (found,) = encoded(encoder(folder), row)
    assert '{"name": "now"}' in AutoTokenizer.from_pretrained(folder).decode(found.prompt)


# --------------------------------------------------------------------------------------------------------------- errors


def test_a_tokenizer_without_a_chat_template_is_one_clear_error(with_template: Callable[[None], Path]):
    with pytest.raises(DataError, match=r"has no chat template\. Set prompt_type=completion"):
        encoder(with_template(None))


def test_a_tokenizer_without_an_end_is_one_clear_error(tiny_model: Path, tmp_path: Path):
    folder = tokenizer_with(tiny_model, tmp_path / "t", None)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.eos_token = None
    tokenizer.save_pretrained(folder)
    with pytest.raises(DataError, match=r"has no end-of-sequence token\. Set append_eos=false"):
        encoder(folder, prompt_type="completion")
    assert encoder(folder, prompt_type="completion", append_eos=False)


def test_a_folder_without_a_tokenizer_is_one_clear_error(tmp_path: Path):
    with pytest.raises(DataError, match="no tokenizer can be loaded"):
        encoder(tmp_path)


def test_messages_that_the_template_refuses_are_named(spaced: Path):
    with pytest.raises(DataError, match=r"rows\.jsonl line 7: the chat template refuses .*System role not supported"):
        encoded(encoder(spaced), {"messages": CONVERSATION})


def test_half_a_character_is_named(tiny_model: Path):
    with pytest.raises(DataError, match=r"rows\.jsonl line 7: a lone surrogate"):
        encoded(encoder(tiny_model), {"messages": [CONVERSATION[1], {"role": "assistant", "content": "\ud800"}]})


@pytest.mark.parametrize("text", ["\x00", "a\x00b", " " * 50_000, "x" * 200_000, "<|im_end|>", "\u202e\ufeff"])
def test_hostile_text_is_encoded_like_any_other(tiny_model: Path, text: str):
    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    row = {"prompt": text, "response": text}
    (found,) = encoded(encoder(tiny_model, prompt_type="completion"), row, style="alpaca")
    assert found.prompt == tokenizer(text)["input_ids"]
    assert found.responses[0][:-1] == found.prompt


@pytest.mark.parametrize("prompt_type", ["chat", "completion"])
def test_a_tokenizer_that_says_to_cut_and_to_pad_does_neither_here(tiny_model: Path, tmp_path: Path, prompt_type: str):
    folder = tokenizer_with(tiny_model, tmp_path / "t", THINKING)
    plain_folder = tokenizer_with(tiny_model, tmp_path / "plain", THINKING)
    from tokenizers import Tokenizer

    saved = Tokenizer.from_file(str(folder / "tokenizer.json"))
    saved.enable_truncation(4)
    saved.enable_padding(length=8)
    saved.save(str(folder / "tokenizer.json"))
    row = {"prompt": "one two three four five six seven\n", "response": "b"}
    (found,) = encoded(encoder(folder, prompt_type=prompt_type), row, style="alpaca")
    (plain,) = encoded(encoder(plain_folder, prompt_type=prompt_type), row, style="alpaca")
    assert found == plain
