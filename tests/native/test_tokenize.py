"""The step as it runs on the target: once, by many processes, interrupted, twice at once, and never again."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import multiprocessing
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest
from native_sets import (
    OPENAI_TAGS,
    PAIR_COLUMNS,
    changed,
    pair_set,
    prepared,
    settings_of,
    sft_rows,
    sft_set,
    write_lines,
)
from smtrain_native.runtime import cache, settings, tokenize
from smtrain_native.runtime.data_errors import DataError
from smtrain_native.runtime.settings import DataSet, Settings
from smtrain_native.runtime.token_store import open_sets
from transformers import AutoTokenizer

STEP = (sys.executable, "-m", "smtrain_native.runtime.tokenize")


def large_rows(count: int) -> list[dict[str, object]]:
    """Rows of a kilobyte; a chunk is of 128 KiB at least."""
    text = "one two three four five six seven eight nine ten " * 20
    return [{"prompt_id": f"q{number}", "prompt": f"{number}\n", "response": text} for number in range(count)]


def written(told: Settings, folder: Path) -> Path:
    document = folder / "native.json"
    document.write_text(settings.text(told), encoding="utf-8")
    return document


def content(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in sorted(folder.iterdir()) if file.is_file()}


# ------------------------------------------------------------------------------------------------------------- the step


def test_the_step_says_what_became_of_the_rows_and_where_the_tokens_are(
    tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    rows = [*sft_rows(3), {"prompt": "x", "response": ""}]
    told = settings_of(tiny_model, tmp_path / "cache", sft_set(write_lines(tmp_path / "r.jsonl", rows)))
    document = str(written(told, tmp_path))
    assert tokenize.main([document]) == 0
    output = capsys.readouterr().out
    assert "rows (train): 4 rows, 4 samples, 3 kept" in output
    assert "dropped: 1 × empty response (" in output
    assert f"tokens: {tmp_path}/cache/tokens/" in output
    assert "(made now)" in output
    assert tokenize.main([document]) == 0
    assert capsys.readouterr().out == output.replace("made now", "found in the cache")


def test_the_report_as_json(tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    told = settings_of(tiny_model, tmp_path / "cache", sft_set(write_lines(tmp_path / "r.jsonl", sft_rows(3))))
    assert tokenize.main(["--json", str(written(told, tmp_path))]) == 0
    (report,) = json.loads(capsys.readouterr().out)
    assert (report["name"], report["rows"], report["kept"], report["cached"]) == ("rows", 3, 3, False)
    assert Path(report["store"]).is_dir()
    assert report["digest"] == open_sets(told, "train")[0].digest


def test_every_set_that_cannot_be_used_is_told_at_once(
    tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    good = write_lines(tmp_path / "good.jsonl", sft_rows(3))
    empty = write_lines(tmp_path / "empty.jsonl", [])
    sets = [sft_set(empty, name="a"), sft_set(good, name="b"), sft_set(tmp_path / "gone.jsonl", name="c")]
    assert tokenize.main([str(written(settings_of(tiny_model, tmp_path / "cache", *sets), tmp_path))]) == 1
    output = capsys.readouterr()
    assert output.err.splitlines()[-2:] == [
        f"error: data set a: there are no rows in {empty}.",
        f"error: data set c: there is no file {tmp_path}/gone.jsonl.",
    ]
    assert "b (train): 3 rows" in output.out


def test_a_second_run_needs_neither_torch_nor_transformers(tiny_model: Path, tmp_path: Path):
    told = settings_of(tiny_model, tmp_path / "cache", sft_set(write_lines(tmp_path / "r.jsonl", sft_rows(3))))
    prepared(told)
    program = (
        "import sys; from smtrain_native.runtime import tokenize\n"
        f"assert tokenize.main([{str(written(told, tmp_path))!r}]) == 0\n"
        "print(sorted({'torch', 'transformers', 'datasets', 'tokenizers'} & set(sys.modules)))"
    )
    done = subprocess.run((sys.executable, "-c", program), capture_output=True, text=True, check=True)
    assert "found in the cache" in done.stdout
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize(
    ("named", "environ", "folder"),
    [
        ("/a", {"SMTRAIN_CACHE_DIR": "/b", "XDG_CACHE_HOME": "/c"}, "/a"),
        (None, {"SMTRAIN_CACHE_DIR": "/b", "XDG_CACHE_HOME": "/c"}, "/b"),
        (None, {"XDG_CACHE_HOME": "/c"}, "/c/smtrain"),
        (None, {}, str(Path("~/.cache/smtrain").expanduser())),
    ],
)
def test_where_the_cache_is(named: str | None, environ: dict[str, str], folder: str):
    told = changed(settings_of(Path("m"), Path("x")), cache_dir=named)
    assert cache.folder(told, environ) == Path(folder)


# ------------------------------------------------------------------------------------------------------- many processes


def test_any_number_of_processes_writes_the_same_bytes(tiny_model: Path, tmp_path: Path):
    data = sft_set(write_lines(tmp_path / "r.jsonl", large_rows(500)))
    one, two = (prepared(settings_of(tiny_model, tmp_path / str(workers), data, workers=workers)) for workers in (1, 2))
    assert content(one.store.folder) == content(two.store.folder)
    assert content(one.folder) == content(two.folder)
    assert one.digest == two.digest
    assert len([name for name in content(one.store.folder) if name.endswith(".arrow")]) > 2


def test_an_error_in_a_process_is_the_error_of_the_whole(tiny_model: Path, tmp_path: Path):
    rows = [*large_rows(400), {"prompt": "x", "response": 5}]
    data = sft_set(write_lines(tmp_path / "r.jsonl", rows))
    with pytest.raises(DataError, match=r"r\.jsonl line 401: response \(column `response`\) is int"):
        prepared(settings_of(tiny_model, tmp_path / "cache", data, workers=2))


@pytest.mark.slow
def test_two_steps_at_once_make_one_store(tiny_model: Path, tmp_path: Path):
    told = settings_of(tiny_model, tmp_path / "cache", sft_set(write_lines(tmp_path / "r.jsonl", large_rows(600))))
    command = (*STEP, str(written(told, tmp_path)))
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    outputs = [process.communicate(timeout=120) for process in both]
    assert [process.returncode for process in both] == [0, 0], outputs
    said = sorted("made now" if "made now" in out else "found" for out, _ in outputs)
    assert said == ["found", "made now"]
    assert len([each for each in (tmp_path / "cache" / "tokens").iterdir() if each.is_dir()]) == 1


# -------------------------------------------------------------------------------------------------------- interruptions


def children_of(process: int) -> list[int]:
    tasks = Path(f"/proc/{process}/task").glob("*/children")
    return [int(child) for task in tasks for child in task.read_text().split()]


def is_alive(process: int) -> bool:
    with contextlib.suppress(OSError, IndexError):
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    return False


def wait_until(holds: Callable[[], bool], limit_s: float = 60) -> None:
    end = time.monotonic() + limit_s
    while not holds():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.005)


@contextlib.contextmanager
def begun(told: Settings, folder: Path) -> Iterator[BaseProcess]:
    """A process of its own that prepares the first set; what it says of an error is in `error.txt`."""

    def run() -> None:
        try:
            prepared(told)
        except DataError as error:
            (folder / "error.txt").write_text(str(error))

    process = multiprocessing.get_context("fork").Process(target=run)
    process.start()
    yield process
    process.kill()
    process.join()


def notes(folder: Path) -> list[Path]:
    return sorted((folder / "cache").glob("tokens/*/part-*.json"))


def test_a_killed_step_goes_on_where_it_was(tiny_model: Path, tmp_path: Path):
    data = sft_set(write_lines(tmp_path / "r.jsonl", large_rows(4000)))
    told = settings_of(tiny_model, tmp_path / "cache", data, workers=2)
    with begun(told, tmp_path) as step:
        wait_until(lambda: len(notes(tmp_path)) >= 3 or not step.is_alive())
        workers = children_of(step.pid)
    assert not list((tmp_path / "cache").glob("tokens/*/store.json")), "it was too quick for this test"
    assert len(workers) == 2
    wait_until(lambda: not any(map(is_alive, workers)))

    finished = {note.with_suffix(".arrow"): note.with_suffix(".arrow").stat().st_ino for note in notes(tmp_path)}
    damaged, *whole = finished
    damaged.write_bytes(damaged.read_bytes()[:-1] + b"x")
    resumed = prepared(told)
    assert [path.stat().st_ino for path in whole] == [finished[path] for path in whole]
    untouched = prepared(settings_of(tiny_model, tmp_path / "other", data))
    assert content(resumed.store.folder) == content(untouched.store.folder)


def test_a_killed_process_of_the_pool_is_told(tiny_model: Path, tmp_path: Path):
    # Enough for the others to be at work still when one is killed.
    data = sft_set(write_lines(tmp_path / "r.jsonl", large_rows(40_000)))
    for number in range(4):  # killed when it reads, or writes, or holds a lock: each has been a reason to wait for ever
        folder = tmp_path / str(number)
        folder.mkdir()
        before = signal.signal(signal.SIGTERM, lambda *_: None)  # which the processes inherit
        try:
            with begun(settings_of(tiny_model, folder / "cache", data, workers=2), folder) as step:
                wait_until(lambda folder=folder, step=step: bool(notes(folder)) or not step.is_alive())
                os.kill(children_of(step.pid)[number % 2], signal.SIGKILL)
                step.join(30)
        finally:
            signal.signal(signal.SIGTERM, before)
        says = (folder / "error.txt").read_text()
        assert says.startswith("a process that tokenised was killed, probably for lack of memory")


def test_a_store_whose_file_was_cut_is_mended(tiny_model: Path, tmp_path: Path):
    told = settings_of(tiny_model, tmp_path / "cache", sft_set(write_lines(tmp_path / "r.jsonl", large_rows(300))))
    first = prepared(told)
    before = content(first.store.folder)
    (first.store.folder / "part-00001.arrow").write_bytes(b"")
    again = prepared(told)
    assert again.fresh
    assert content(again.store.folder) == before


def test_a_disk_that_fills_is_told_and_the_next_run_goes_on(tiny_model: Path, tmp_path: Path):
    told = settings_of(tiny_model, tmp_path / "cache", sft_set(write_lines(tmp_path / "r.jsonl", large_rows(300))))
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
    try:
        with pytest.raises(DataError) as caught:
            prepared(told)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert "cannot write the cache: File too large." in str(caught.value)
    assert "bytes are free. Make room, or name another folder: data.cache_dir" in str(caught.value)
    assert prepared(told).fresh
    assert not list((tmp_path / "cache").rglob(".part*"))


def test_a_disk_that_has_no_room_for_the_tokens_is_told_before_the_work(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    told = settings_of(tiny_model, tmp_path / "cache", sft_set(write_lines(tmp_path / "r.jsonl", large_rows(30))))
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=1000))
    with pytest.raises(DataError, match=r"the tokens of [\d,]+ bytes of rows do not fit: 1,000 bytes are free"):
        prepared(told)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_cache_that_may_not_be_written_to_is_told(tiny_model: Path, tmp_path: Path):
    (tmp_path / "cache").mkdir(mode=0o500)
    told = settings_of(tiny_model, tmp_path / "cache", sft_set(write_lines(tmp_path / "r.jsonl", sft_rows(3))))
    with pytest.raises(DataError, match="cannot write the cache: Permission denied"):
        prepared(told)


# ----------------------------------------------------------------------------------------------------- what is the same


@pytest.fixture
def told(tiny_model: Path, tmp_path: Path) -> Settings:
    """Settings of chat-style training on a file of its own, with a tokenizer of its own."""
    shutil.copytree(tiny_model, tmp_path / "model")
    file = write_lines(tmp_path / "r.jsonl", sft_rows(12))
    return settings_of(tmp_path / "model", tmp_path / "cache", sft_set(file), prompt_type="chat")


def with_set(told: Settings, **data: object) -> Settings:
    return changed(told, sets=(dataclasses.replace(told.data.sets[0], **data),))


def store_of(told: Settings) -> str:
    return prepared(told).store.folder.name


def edit_json(file: Path, **values: object) -> None:
    file.write_text(json.dumps({**json.loads(file.read_text()), **values}))


def test_changed_content_is_tokenised_again(told: Settings, tmp_path: Path):
    before = store_of(told)
    file = tmp_path / "r.jsonl"
    text = file.read_text()
    file.write_text(text.replace("Count to 3", "Count to 4"))
    assert store_of(told) != before
    file.write_text(text)
    assert store_of(told) == before


def test_a_file_rewritten_in_place_with_the_same_length_is_noticed(told: Settings, tmp_path: Path):
    file = tmp_path / "r.jsonl"
    past = time.time() - 60
    os.utime(file, (past, past))
    before = store_of(told)
    file.write_text(file.read_text().replace("one", "two"))
    assert store_of(told) != before


def test_a_file_that_was_just_written_is_read_again_whatever_its_time_says(told: Settings, tmp_path: Path):
    file = tmp_path / "r.jsonl"
    before, now = store_of(told), file.stat().st_mtime_ns
    file.write_text(file.read_text().replace("one", "two"))
    os.utime(file, ns=(now, now))
    assert store_of(told) != before


@pytest.mark.parametrize(
    "edit",
    [
        lambda model: edit_json(model / "tokenizer.json", truncation=None, padding=None, version="1.0", added=1),
        lambda model: edit_json(model / "tokenizer_config.json", model_max_length=7),
        lambda model: (model / "chat_template.jinja").write_text("{{ messages[0].content }}{{ messages[1].content }}"),
        lambda model: (model / "special_tokens_map.json").write_text("{}"),
        lambda model: edit_json(model / "config.json", model_type="gpt2"),
    ],
    ids=["tokenizer", "config", "template", "special tokens", "model type"],
)
def test_each_file_of_the_tokenizer_is_in_the_key(told: Settings, tmp_path: Path, edit: Callable[[Path], object]):
    def key() -> str:
        from smtrain_native.runtime.tokenizer_files import tokenizer_digest

        return tokenizer_digest(tmp_path / "model", told.model, tmp_path / "cache")

    before = key()
    edit(tmp_path / "model")
    assert key() != before


@pytest.mark.parametrize(
    "change",
    [
        lambda told: changed(told, prompt_type="completion"),
        lambda told: changed(told, prompt_type="completion", append_eos=False),
        lambda told: with_set(told, columns={"prompt": "response", "response": "prompt"}),
        lambda told: with_set(told, files=told.data.sets[0].files * 2),
    ],
    ids=["prompt_type", "append_eos", "columns", "files"],
)
def test_each_setting_that_decides_the_tokens_is_in_the_key(told: Settings, change: Callable[[Settings], Settings]):
    stores = {store_of(told), store_of(changed(told, prompt_type="completion")), store_of(change(told))}
    assert len(stores) == 3 if change(told) != changed(told, prompt_type="completion") else 2


@pytest.mark.parametrize(
    "change",
    [
        lambda told: changed(told, max_length=100),
        lambda told: changed(told, too_long="truncate"),
        lambda told: changed(told, duplicates="keep"),
        lambda told: with_set(told, weight=2.0),
        lambda told: with_set(told, num_samples=3),
    ],
    ids=["max_length", "too_long", "duplicates", "weight", "num_samples"],
)
def test_a_policy_chooses_among_the_same_tokens(told: Settings, change: Callable[[Settings], Settings]):
    before, after = prepared(told), prepared(change(told))
    assert after.store.folder == before.store.folder
    assert not after.fresh
    assert after.digest != before.digest


@pytest.mark.parametrize(
    "change",
    [
        lambda told: changed(told, workers=2),
        lambda told: changed(told, append_eos=False),
        lambda told: with_set(told, name="other"),
        lambda told: with_set(told, role="eval"),
        lambda told: dataclasses.replace(told, seed=7, output_dir="elsewhere"),
    ],
    ids=["workers", "append_eos of a chat", "name", "role", "seed"],
)
def test_nothing_else_is_in_either_key(told: Settings, change: Callable[[Settings], Settings]):
    before, after = prepared(told), prepared(change(told))
    assert (after.store.folder, after.digest, after.fresh) == (before.store.folder, before.digest, False)
    assert after.report().name == change(told).data.sets[0].name


def test_neither_names_nor_weights_of_files_nor_times_are_in_the_key(told: Settings, tmp_path: Path):
    before = prepared(told)
    (tmp_path / "model" / "model.safetensors").write_bytes(b"other weights")
    edit_json(tmp_path / "model" / "config.json", hidden_size=128)
    (tmp_path / "model").rename(tmp_path / "moved")
    (tmp_path / "r.jsonl").rename(tmp_path / "s.jsonl")
    os.utime(tmp_path / "s.jsonl", (1, 1))
    moved = with_set(
        dataclasses.replace(told, model=dataclasses.replace(told.model, path=str(tmp_path / "moved"))),
        files=(str(tmp_path / "s.jsonl"),),
    )
    after = prepared(moved)
    assert (after.store.folder, after.digest, after.fresh) == (before.store.folder, before.digest, False)


def test_the_digest_of_a_drawn_set_differs_with_its_name(told: Settings):
    first, second = (prepared(with_set(told, weight=0.5, name=name)) for name in ("a", "b"))
    assert first.digest != second.digest


# -------------------------------------------------------------------------------------------------------------- columns


@pytest.mark.parametrize(
    ("columns", "says"),
    [
        (
            {"prompt": "prompt", "response": "answer"},
            "data set rows: r.jsonl line 1 has no column `answer`, which is named for response, nor has any row",
        ),
        (
            {"prompt": "prompt", "response": "response", "history": "past"},
            "has no column `past`, which is named for history, nor has any row after it",
        ),
    ],
    ids=["needed", "optional"],
)
def test_a_column_that_no_row_has_is_named_with_the_file(
    tiny_model: Path, tmp_path: Path, columns: dict[str, str], says: str
):
    data = sft_set(write_lines(tmp_path / "r.jsonl", sft_rows(3)), columns=columns)
    with pytest.raises(DataError) as caught:
        prepared(settings_of(tiny_model, tmp_path / "cache", data))
    assert says in str(caught.value)
    assert "r.jsonl" in str(caught.value)


def test_an_optional_column_may_be_absent_from_some_rows(tiny_model: Path, tmp_path: Path):
    rows = [{"prompt": "a\n", "response": "b"}, {"prompt": "c", "input": "d\n", "response": "e"}]
    columns = {"prompt": "prompt", "query": "input", "response": "response"}
    data = sft_set(write_lines(tmp_path / "r.jsonl", rows), columns=columns)
    (found,) = open_sets(settings_of(tiny_model, tmp_path / "cache", data), "train")
    assert AutoTokenizer.from_pretrained(tiny_model).decode(found.sample(1).prompt) == "c\nd\n"


@pytest.mark.parametrize("text", ["", "\x00", "x" * 500_000, "🙂" * 1000], ids=["empty", "nul", "long", "emoji"])
def test_hostile_responses_get_through_or_are_counted(tiny_model: Path, tmp_path: Path, text: str):
    rows = [{"prompt": "a\n", "response": "b"}, {"prompt": "c\n", "response": text}]
    told = settings_of(
        tiny_model, tmp_path / "cache", sft_set(write_lines(tmp_path / "r.jsonl", rows)), max_length=1 << 30
    )
    (found,) = open_sets(told, "train")
    assert len(found) == (2 if text else 1)
    if text:
        end = found.sample(1).responses[0][:-1]
        assert AutoTokenizer.from_pretrained(tiny_model).decode(end) == text


# -------------------------------------------------------------------------------------------------------------- the hub


def test_a_data_set_of_the_hub_comes_through_datasets(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    # `datasets` takes a folder of this name before it asks the hub.
    (tmp_path / "acme" / "rows").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    pytest.importorskip("datasets").config.HF_DATASETS_CACHE = tmp_path / "datasets"
    write_lines(tmp_path / "acme" / "rows" / "train.jsonl", sft_rows(10))
    write_lines(tmp_path / "acme" / "rows" / "test.jsonl", sft_rows(4))
    data = DataSet(
        name="h", role="train", files=("hub:acme/rows",), columns={"prompt": "prompt", "response": "response"}
    )
    first = settings_of(tiny_model, tmp_path / "cache", data)
    test = with_set(first, split="test")
    slice_of = with_set(first, split="train[:3]")
    assert [len(open_sets(told, "train")[0]) for told in (first, test, slice_of)] == [10, 4, 3]
    assert not prepared(first).fresh


def test_a_data_set_that_the_hub_does_not_give_is_named(tiny_model: Path, tmp_path: Path):
    data = DataSet(name="h", role="train", files=("hub:acme/none",), columns={"prompt": "prompt", "response": "r"})
    with pytest.raises(DataError, match="hub:acme/none: `datasets` cannot load it"):
        prepared(settings_of(tiny_model, tmp_path / "cache", data))


def test_a_model_that_is_neither_a_folder_nor_on_the_hub_is_named(tmp_path: Path):
    data = sft_set(write_lines(tmp_path / "r.jsonl", sft_rows(3)))
    with pytest.raises(DataError, match=r"model\.path=acme/none: neither a folder nor a repository"):
        prepared(settings_of(Path("acme/none"), tmp_path / "cache", data))


# ------------------------------------------------------------------------------------------------------ whole data sets


def test_pairs_in_chat_shape_go_from_file_to_samples(tiny_model: Path, tmp_path: Path):
    said = [{"role": "user", "content": "Hello"}]
    row = {"chosen": [*said, {"role": "assistant", "content": "Yes."}]}
    row["rejected"] = [*said, {"role": "assistant", "content": "No."}]
    data = pair_set(
        write_lines(tmp_path / "r.jsonl", [row]),
        format="openai",
        columns={"chosen": "chosen", "rejected": "rejected"},
        tags=OPENAI_TAGS,
    )
    told = settings_of(tiny_model, tmp_path / "cache", data, kind="preference", prompt_type="chat")
    sample = open_sets(told, "train")[0].sample(0)
    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    assert tokenizer.decode(sample.prompt) == "<|im_start|>user\nHello<|im_end|>\n<|im_start|>assistant\n"
    assert [tokenizer.decode(each) for each in sample.responses] == ["Yes.<|im_end|>\n", "No.<|im_end|>\n"]
    assert PAIR_COLUMNS
