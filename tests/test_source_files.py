from __future__ import annotations

import hashlib
import os
import socket
import subprocess
import time
from collections.abc import Iterable
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from smtrain.sources import files as module
from smtrain.sources import secret_files
from smtrain.sources.files import source_files
from smtrain.spec import LocalFile

TOKEN = "hf_" + "a" * 34


def write(root: Path, *names: str, text: str = "x") -> None:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def sent(root: Path) -> list[str]:
    files, problems = source_files(root, prefix="source")
    assert [str(problem) for problem in problems if problem.is_error] == []
    assert all(file.path.startswith("source/") for file in files)
    return [file.path.removeprefix("source/") for file in files]


def told(root: Path) -> str:
    """Returns the errors; there is one at least, and no file comes with them."""
    files, problems = source_files(root, prefix="source")
    assert files == ()
    assert {problem.key for problem in problems} == {"backend.source_dir"}
    assert any(problem.is_error for problem in problems)
    return "\n".join(str(problem) for problem in problems if problem.is_error)


# ------------------------------------------------------------------------------------------------------- what is taken


def test_files_come_sorted_by_path_with_digest_size_and_mode(tmp_path: Path) -> None:
    write(tmp_path, "z.py", "a/b.py", "a.py", "a-b.py")
    (tmp_path / "run.sh").write_bytes(b"#!/bin/sh\n")
    (tmp_path / "run.sh").chmod(0o755)
    files, problems = source_files(tmp_path, prefix="source")
    assert problems == ()
    assert [file.path for file in files] == [
        f"source/{name}" for name in ("a-b.py", "a.py", "a/b.py", "run.sh", "z.py")
    ]
    assert [file.executable for file in files] == [False, False, False, True, False]
    content = files[3].content
    digest = hashlib.sha256(b"#!/bin/sh\n").hexdigest()
    assert content == LocalFile(path=tmp_path / "run.sh", sha256=digest, size=10)


def test_what_is_no_source_is_left_out(tmp_path: Path) -> None:
    write(
        tmp_path, "train.py", "__pycache__/train.cpython-311.pyc", "old.pyc", ".git/config", "web/node_modules/x.js",
        ".venv/bin/python", "my-env/pyvenv.cfg", "my-env/lib/x.py", ".ipynb_checkpoints/n.ipynb", "a/.DS_Store",
        "runs/smtrain-0123456789/bundle/manifest.json", "runs/smtrain-0123456789/logs/workload.log", "runs/.store/abc",
    )  # fmt: skip
    assert sent(tmp_path) == ["train.py"]


def test_a_folder_called_runs_may_be_source(tmp_path: Path) -> None:
    write(tmp_path, "runs/first.py")
    assert sent(tmp_path) == ["runs/first.py"]


def test_a_folder_is_named_from_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "code", "a.py")
    monkeypatch.chdir(tmp_path)
    assert source_files(Path("code"), prefix="s") == source_files(tmp_path / "code", prefix="s")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert source_files(Path("~/code"), prefix="s") == source_files(tmp_path / "code", prefix="s")


# ------------------------------------------------------------------------------------------------------------ gitignore


def git(root: Path, *words: str) -> bytes:
    env = {**os.environ, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}
    return subprocess.run(("git", *words), cwd=root, env=env, capture_output=True, check=True).stdout


def tracked(root: Path) -> list[str]:
    listed = git(root, "ls-files", "-z", "--cached", "--others", "--exclude-standard").split(b"\0")
    return sorted(os.fsdecode(name) for name in listed if name)


def repository(root: Path) -> Path:
    root.mkdir(parents=True, exist_ok=True)
    git(root, "init", "--quiet")
    return root


@pytest.mark.needs_program("git")
def test_nested_files_negations_and_the_exclude_file_count_as_for_git(tmp_path: Path) -> None:
    root = repository(tmp_path / "code")
    write(root, ".gitignore", text="\ufeff*.log\r\n/build/\n!keep.log\ndata/**/raw\n\\#odd\nspace\\ \n[ab].txt\n")
    write(root, "deep/.gitignore", text="!*.log\nkeep.log\nlocal/\n")
    write(root, ".git/info/exclude", text="*.tmp\nkeep.log\n!x.log\n")
    write(
        root, "a.py", "x.log", "keep.log", "build/o", "src/build/o", "deep/x.log", "deep/keep.log", "deep/local/y",
        "data/a/raw/1", "data/raw", "data/rare", "#odd", "space ", "a.txt", "c.txt", "n.tmp", "deep/n.tmp",
    )  # fmt: skip
    assert sent(root) == tracked(root)
    assert "deep/x.log" in tracked(root)


@pytest.mark.needs_program("git")
def test_a_folder_inside_a_repository_inherits_its_rules(tmp_path: Path) -> None:
    root = repository(tmp_path / "code")
    write(root, ".gitignore", text="*.log\n/job/cache/\n")
    write(root, "job/a.py", "job/x.log", "job/cache/c", "job/more/cache/c")
    assert sent(root / "job") == tracked(root / "job") == ["a.py", "more/cache/c"]


def test_without_a_repository_gitignore_files_count_all_the_same(tmp_path: Path) -> None:
    write(tmp_path, ".gitignore", text="above.py\n")
    write(tmp_path, "code/.gitignore", text="*.log\n")
    write(tmp_path, "code/x.log", "code/above.py")
    assert sent(tmp_path / "code") == [".gitignore", "above.py"]


NAMES = ("a", "b", "ab", "a.b", "[a]", "é", "a b")
PATTERN = st.one_of(
    st.lists(
        st.sampled_from(
            (*NAMES, "*", "**", "?", "a*", "*b", "[ab]", "[!a]", "\\[a]", "*.b", "[a-b]", "[[:alpha:]]", "[^[:digit:]]")
        ),
        min_size=1,
        max_size=3,
    ).map("/".join),
    st.text(st.sampled_from("ab*?[]!\\/. #-^"), max_size=6),
)
LINE = st.tuples(st.sampled_from(("", "!", "/", "!/")), PATTERN, st.sampled_from(("", "/", " "))).map("".join)
TREE = st.sets(st.lists(st.sampled_from(NAMES), min_size=1, max_size=3).map("/".join), min_size=3, max_size=12)


def without_clashes(paths: Iterable[str]) -> list[str]:
    """Returns the paths, other than those that others need as folders."""
    found = sorted(paths)
    return [path for path in found if not any(other.startswith(f"{path}/") for other in found)]


@pytest.mark.needs_program("git")
@settings(max_examples=60)
@given(tree=TREE, top=st.lists(LINE, max_size=5), nested=st.lists(LINE, max_size=3), exclude=st.lists(LINE, max_size=2))
@example(tree={"a/b", "b"}, top=["a", "!a/"], nested=[], exclude=["b"])
def test_any_patterns_leave_out_what_git_leaves_out(
    tree: set[str], top: list[str], nested: list[str], exclude: list[str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    root = repository(tmp_path_factory.mktemp("code") / "r")
    write(root, *without_clashes(tree), "a.py")
    write(root, ".gitignore", text="\n".join(top))
    if (root / "a").is_dir():
        write(root, "a/.gitignore", text="\n".join(nested))
    write(root, ".git/info/exclude", text="\n".join(exclude))
    expected = tracked(root)
    files, _ = source_files(root, prefix="s")
    assert [file.path.removeprefix("s/") for file in files] == expected


# ------------------------------------------------------------------------------------------------- links, special files


def test_a_link_inside_stands_for_what_it_leads_to(tmp_path: Path) -> None:
    write(tmp_path, "real.py", "folder/x.py")
    (tmp_path / "link.py").symlink_to("real.py")
    (tmp_path / "absolute.py").symlink_to(tmp_path / "real.py")
    (tmp_path / "also").symlink_to("folder")
    assert sent(tmp_path) == ["absolute.py", "also/x.py", "folder/x.py", "link.py", "real.py"]


def test_the_source_folder_may_itself_be_a_link(tmp_path: Path) -> None:
    write(tmp_path / "real", "a.py", ".gitignore", text="*.log\n")
    write(tmp_path / "real", "x.log")
    (tmp_path / "link").symlink_to("real")
    assert sent(tmp_path / "link") == [".gitignore", "a.py"]


@pytest.mark.parametrize(
    ("to", "told_of"),
    [
        ("../outside.py", "no part of the source"),
        ("/etc/passwd", "no part of the source"),
        ("nowhere", "leads nowhere"),
        ("link", "leads nowhere"),
        (".", "a folder that it lies in itself"),
        (".git/config", "no part of the source"),
    ],
)
def test_a_link_that_leads_elsewhere_is_refused(tmp_path: Path, to: str, told_of: str) -> None:
    write(tmp_path, "outside.py", "code/a.py", "code/.git/config")
    (tmp_path / "code" / "link").symlink_to(to)
    found = told(tmp_path / "code")
    assert "`link` is a link to" in found
    assert told_of in found


def test_folders_that_link_to_one_another_are_refused(tmp_path: Path) -> None:
    write(tmp_path, "a/x.py", "b/y.py")
    (tmp_path / "a" / "to-b").symlink_to("../b")
    (tmp_path / "b" / "to-a").symlink_to("../a")
    assert "a folder that it lies in itself" in told(tmp_path)


def test_an_ignored_link_is_no_concern(tmp_path: Path) -> None:
    write(tmp_path, ".gitignore", text="link\n")
    (tmp_path / "link").symlink_to("/etc/passwd")
    assert sent(tmp_path) == [".gitignore"]


def test_sockets_and_pipes_are_left_out_with_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, "a.py")
    monkeypatch.chdir(tmp_path)  # a socket's path is short
    os.mkfifo("pipe")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("socket")
        files, problems = source_files(tmp_path, prefix="s")
    assert [file.path for file in files] == ["s/a.py"]
    assert [(problem.is_error, problem.what.split()[0]) for problem in problems] == [
        (False, "`pipe`"),
        (False, "`socket`"),
    ]


# -------------------------------------------------------------------------------------------------------------- secrets


@pytest.mark.parametrize(
    "name",
    [
        *(".env", ".env.local", ".ENV", "secrets.env", "key.pem", "id_rsa", "id_ed25519", "credentials", ".netrc"),
        *("store.p12", "store.pfx", "store.jks", "kubeconfig", "deep/er/.env"),
    ],
)
def test_a_file_named_like_a_secret_stops_it(tmp_path: Path, name: str) -> None:
    write(tmp_path, "a.py", name)
    assert f"`{name}` looks like a secret: it has the name of one" in told(tmp_path)


@pytest.mark.parametrize(
    "text",
    [
        f"TOKEN = '{TOKEN}'",
        "AKIA" + "A" * 16,
        "-----BEGIN RSA PRIVATE KEY-----",
        '{\n  "type": "service_account",\n  "private_key": "x"\n}',
        "apiVersion: v1\nkind: Config\nusers:\n- name: me\n  user:\n    token: abc\n",
        "    client-key-data: LS0t\n",
    ],
)
def test_a_secret_inside_a_file_stops_it_and_is_not_repeated(tmp_path: Path, text: str) -> None:
    write(tmp_path, "notes.txt", text="harmless\n" + text)
    found = told(tmp_path)
    assert "`notes.txt` looks like a secret" in found
    assert TOKEN not in found


def test_a_secret_is_found_wherever_it_stands_in_a_large_file(tmp_path: Path) -> None:
    for start in (0, (1 << 20) - 20, (2 << 20) - 1, 3_000_000):
        (tmp_path / "large.bin").write_bytes(b" " * start + TOKEN.encode() + b" " * 1000)
        assert "a Hugging Face token" in told(tmp_path)


@given(st.data())
def test_what_is_looked_for_first_is_in_every_match(data: st.DataObject) -> None:
    for name, pattern in secret_files._CONTENTS:
        content = data.draw(st.from_regex(pattern))
        assert secret_files._may_match(name, content)
    assert secret_files._LITERALS.keys() <= {name for name, _ in secret_files._CONTENTS}


def test_every_secret_is_told_at_once(tmp_path: Path) -> None:
    write(tmp_path, ".env", "deep/id_rsa")
    write(tmp_path, "notes.txt", text=TOKEN)
    assert told(tmp_path).count("looks like a secret") == 3


@pytest.mark.parametrize("name", [".env.example", ".env.template", "credentials/__init__.py", "env.py", "pem.py"])
def test_what_only_sounds_like_a_secret_is_sent(tmp_path: Path, name: str) -> None:
    write(tmp_path, name, text="TOKEN=hf_your_token_here  # sk-...")
    assert sent(tmp_path) == [name]


def test_an_ignored_secret_stays_here_and_is_no_concern(tmp_path: Path) -> None:
    write(tmp_path, ".gitignore", text=".env\n")
    write(tmp_path, ".env", text=TOKEN)
    assert sent(tmp_path) == [".gitignore"]


def test_a_secret_under_another_name_is_seen_through_a_link(tmp_path: Path) -> None:
    write(tmp_path, ".gitignore", text=".env\n")
    write(tmp_path, ".env")
    (tmp_path / "settings").symlink_to(".env")
    assert "`settings` looks like a secret" in told(tmp_path)


# ------------------------------------------------------------------------------------------------- sizes, names, access


def test_a_large_source_is_a_doubt_and_a_huge_one_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, "a.py")
    with (tmp_path / "weights.bin").open("wb") as file:
        file.truncate(module.LARGE)  # a hole, not written
    files, (doubt,) = source_files(tmp_path, prefix="s")
    assert (len(files), doubt.is_error) == (2, False)
    assert "`weights.bin`, 100 MB" in doubt.what
    with (tmp_path / "weights.bin").open("wb") as file:
        file.truncate(module.LARGEST)
    begin = time.monotonic()
    assert "2,000 MB" in told(tmp_path)
    assert time.monotonic() - begin < 1, "refused before anything is read"


def test_very_many_files_are_a_doubt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MANY", 10)
    write(tmp_path, *(f"{number}.py" for number in range(11)))
    files, (doubt,) = source_files(tmp_path, prefix="s")
    assert (len(files), doubt.is_error) == (11, False)
    assert "11 files" in doubt.what


@pytest.mark.parametrize("name", [b"new\nline", b"bell\x07", b"\xff\xfe.py", b"folder\n/a.py"])
def test_names_that_cannot_be_sent_are_told_legibly(tmp_path: Path, name: bytes) -> None:
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + name))
    path.parent.mkdir(exist_ok=True)
    path.touch()
    found = told(tmp_path)
    assert "in its name" in found
    assert "\n" not in found.partition(".\n")[0]
    found.encode()


@pytest.mark.parametrize("name", ["it's $(x) `y`.py", "-n", "é 漢.py", " lead", "a\\b", "%d"])
def test_other_odd_names_are_sent(tmp_path: Path, name: str) -> None:
    write(tmp_path, name)
    assert sent(tmp_path) == [name]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
@pytest.mark.parametrize("name", ["a.py", "folder"])
def test_what_cannot_be_read_is_told(tmp_path: Path, name: str) -> None:
    write(tmp_path, "a.py", "folder/b.py", "c.py")
    (tmp_path / name).chmod(0)
    try:
        assert f"`{name}` cannot be read: Permission denied" in told(tmp_path)
    finally:
        (tmp_path / name).chmod(0o755)


def test_a_folder_that_is_not_there_or_has_nothing_is_told(tmp_path: Path) -> None:
    write(tmp_path, "file")
    (tmp_path / "empty").mkdir()
    assert "is not there" in told(tmp_path / "nowhere")
    assert "is not a folder" in told(tmp_path / "file")
    assert "holds no file" in told(tmp_path / "empty")
