"""What training code reads."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
from native_sets import pair_set, settings_of, sft_rows, sft_set, write_lines
from smtrain_native.runtime.token_store import open_sets
from transformers import AutoTokenizer


def test_samples_are_int32_views_on_the_file(tiny_model: Path, tmp_path: Path):
    rows = [{"prompt": "a\n", "chosen": "b c", "rejected": "d"}]
    settings = settings_of(tiny_model, tmp_path, pair_set(write_lines(tmp_path / "r.jsonl", rows)), kind="preference")
    (found,) = open_sets(settings, "train")
    sample = found.sample(0)
    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    assert [tokenizer.decode(tokens) for tokens in sample.responses] == ["b c<|im_end|>", "d<|im_end|>"]
    for tokens in (sample.prompt, *sample.responses):
        assert tokens.dtype == np.int32
        assert not tokens.flags.owndata
        assert not tokens.flags.writeable
    assert found.lengths.dtype == np.int32
    assert found.lengths.tolist() == [[len(sample.prompt), *map(len, sample.responses)]]
    assert sample.prompt_id == found.prompt_id(0)


def test_sets_come_by_role_in_the_order_of_the_settings(tiny_model: Path, tmp_path: Path):
    file = write_lines(tmp_path / "r.jsonl", sft_rows(2))
    named = [sft_set(file, name=name, role=role) for name, role in (("b", "train"), ("x", "eval"), ("a", "train"))]
    settings = settings_of(tiny_model, tmp_path, *named)
    assert [rows.name for rows in open_sets(settings, "train")] == ["b", "a"]
    assert [rows.name for rows in open_sets(settings, "eval")] == ["x"]


def test_paths_start_from_the_given_directory(tiny_model: Path, tmp_path: Path):
    write_lines(tmp_path / "r.jsonl", sft_rows(2))
    (tmp_path / "model").symlink_to(tiny_model)
    settings = settings_of(Path("model"), tmp_path / "cache", sft_set(Path("r.jsonl")))
    assert len(open_sets(settings, "train", tmp_path)[0]) == 2


def test_a_set_goes_to_another_process_by_its_path(tiny_model: Path, tmp_path: Path):
    settings = settings_of(tiny_model, tmp_path, sft_set(write_lines(tmp_path / "r.jsonl", sft_rows(500))))
    (rows,) = open_sets(settings, "train")
    sent = pickle.dumps(rows)
    assert len(sent) < 3000
    assert pickle.loads(sent).sample(499).prompt.tolist() == rows.sample(499).prompt.tolist()


def test_samples_of_all_shards_are_numbered_through_in_the_order_of_the_rows(tiny_model: Path, tmp_path: Path):
    # Chunks are of 128 KiB at least.
    rows = [{"prompt_id": str(number), "prompt": f"{number}\n", "response": "one two " * 400} for number in range(200)]
    files = [write_lines(tmp_path / f"{part}.jsonl", rows[part::2]) for part in range(2)]
    data = sft_set(files[0], files=tuple(map(str, files)))
    (found,) = open_sets(settings_of(tiny_model, tmp_path, data), "train")
    assert [found.prompt_id(number) for number in range(200)] == [row["prompt_id"] for row in rows[::2] + rows[1::2]]
    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    assert tokenizer.decode(found.sample(199).prompt) == "199\n"


def test_an_open_set_holds_no_file_open(tiny_model: Path, tmp_path: Path):
    settings = settings_of(tiny_model, tmp_path, sft_set(write_lines(tmp_path / "r.jsonl", sft_rows(20))))
    (rows,) = open_sets(settings, "train")
    rows.sample(3)
    opened = [str(each.readlink()) for each in Path("/proc/self/fd").iterdir() if each.exists()]
    assert not [path for path in opened if path.endswith(".arrow")]
