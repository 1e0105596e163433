from __future__ import annotations

from pathlib import Path

import pytest

from smtrain.rows import Sample
from smtrain.spec import Dataset
from smtrain.token_count import TokenEstimate, estimate, texts


def dataset(**settings: object) -> Dataset:
    return Dataset(name="x", role="train", key="data", source="file", location="x.json", **settings)  # type: ignore[arg-type]


@pytest.fixture
def model_dir(tmp_path: Path) -> Path:
    """A folder with a tokenizer that makes every word a token, cuts after 2, pads to 8 and adds a first token."""
    tokenizers = pytest.importorskip("tokenizers")
    model = tokenizers.models.WordLevel({"[UNK]": 0, "[BOS]": 1}, unk_token="[UNK]")
    tokenizer = tokenizers.Tokenizer(model)
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    tokenizer.post_processor = tokenizers.processors.TemplateProcessing(
        single="[BOS] $A", special_tokens=[("[BOS]", 1)]
    )
    tokenizer.enable_truncation(2)
    tokenizer.enable_padding(length=8)
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    return tmp_path


def test_the_mean_is_of_the_texts_alone(model_dir: Path) -> None:
    assert estimate(model_dir, ["a b c d", "a b"]) == TokenEstimate(mean=3.0, counted=2)


def test_a_thousand_texts_are_enough(model_dir: Path) -> None:
    more = iter(["a"] * 1000 + ["a b c"] * 10)
    assert estimate(model_dir, more) == TokenEstimate(mean=1.0, counted=1000)
    assert next(more) == "a b c"


def test_without_texts_or_tokenizer_there_is_no_estimate(model_dir: Path, tmp_path: Path) -> None:
    assert estimate(model_dir, []) is None
    assert estimate(tmp_path / "absent", ["a"]) is None


def test_the_text_of_a_row_is_what_the_mapping_reads() -> None:
    rows = ({"instruction": "a", "input": "", "output": "b", "id": "z"}, {"instruction": "c", "output": None})
    assert list(texts(dataset(), Sample(rows=rows))) == ["a\nb", "c"]


def test_the_text_of_a_chat_is_its_contents_and_both_choices() -> None:
    def message(text: str) -> dict[str, object]:
        return {"from": "gpt", "value": text}

    row = {"conversations": [message("a"), message("b")], "chosen": message("c"), "rejected": message("d")}
    columns = {"messages": "conversations", "chosen": "chosen", "rejected": "rejected"}
    found = texts(dataset(format="sharegpt", columns=columns), Sample(rows=(row,)))  # type: ignore[arg-type]
    assert list(found) == ["a\nb\nc\nd"]


def test_the_text_of_a_history_is_all_of_its_turns() -> None:
    columns = {"prompt": "q", "history": "past"}
    row = {"q": "c", "past": [["a", "b"]]}
    assert list(texts(dataset(columns=columns), Sample(rows=(row,)))) == ["a\nb\nc"]  # type: ignore[arg-type]
