"""A folder of the user's code → the files of it that travel in the bundle: what git would track, and no secret."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from smtrain.errors import Problem, warning
from smtrain.sources import secret_files
from smtrain.sources.gitignore import IgnoreRules, rules_above
from smtrain.spec import BundleFile, LocalFile

KEY = "backend.source_dir"
LARGE = 100 * 10**6
LARGEST = 2 * 10**9
MANY = 10_000

LEFT_OUT = frozenset(
    {".git", ".venv", "__pycache__", "node_modules", ".ipynb_checkpoints", ".DS_Store", ".store"},
)
"""Names that are no source, in whatever folder; `.store` is where smtrain keeps what bundles share."""


def source_files(folder: Path, *, prefix: str) -> tuple[tuple[BundleFile, ...], tuple[Problem, ...]]:
    """Returns the files of a folder, sorted by path, or what keeps them from being sent.

    Left out is what .gitignore files and .git/info/exclude of its repository name, LEFT_OUT, compiled Python, virtual
    environments and the folders of smtrain's runs. A link to a file or folder inside stands for what it leads to.

    Args:
      folder: of this machine.
      prefix: the folder in the bundle that they go to.
    """
    root = Path(os.path.abspath(folder.expanduser()))  # noqa: PTH100  # a root that is a link stays where it lies
    if not root.is_dir():
        what = f"`{folder}` is {'not a folder' if root.exists() else 'not there'}."
        return (), (_problem(what, "Name the folder of your code; relative paths start at the current folder."),)
    walk = _Walk(root=root)
    walk.enter(root, rules_above(root), (root.resolve(),))
    walk.found.sort(key=lambda item: item.path)
    walk.check_sizes()
    if sum(item.size for item in walk.found) > LARGEST:
        return (), tuple(walk.problems)  # not read in vain
    files = tuple(_taken(walk, prefix))
    return (() if any(problem.is_error for problem in walk.problems) else files), tuple(walk.problems)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Found:
    """One file.

    Attributes:
      path: relative to the source folder.
      real: where it lies, links resolved.
      size: bytes.
      executable: whether its owner may execute it.
    """

    path: str
    real: Path
    size: int
    executable: bool


@dataclass(slots=True, kw_only=True)
class _Walk:
    """Goes through a folder, and gathers files and problems.

    Attributes:
      root: the source folder.
      found: the files.
      problems: what is wrong with some.
    """

    root: Path
    found: list[_Found] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)

    def enter(self, folder: Path, rules: IgnoreRules, inside: tuple[Path, ...]) -> None:
        """Gathers the files of a folder.

        Args:
          folder: its path, in which links may stand.
          rules: of the folders above.
          inside: the real folders that it lies in, and itself.
        """
        try:
            own = rules.within(folder)
            names = sorted(os.listdir(folder))  # noqa: PTH208  # names, of which some may not be text
        except OSError as error:
            self.cannot_read(folder, error)
            return
        if not (folder != self.root and _is_no_source(folder, names)):
            for name in names:
                if name not in LEFT_OUT and not name.endswith((".pyc", ".pyo")):
                    self._entry(folder / name, own, inside)

    def _entry(self, path: Path, rules: IgnoreRules, inside: tuple[Path, ...]) -> None:
        try:
            mode = path.lstat().st_mode
            if rules.ignores(path, is_folder=stat.S_ISDIR(mode)):
                return
            if fault := _fault_of_name(self._shown(path)):
                self._wrong(path, f"has {fault} in its name", "Rename it, or name it in .gitignore.")
            elif stat.S_ISLNK(mode):
                self._link(path, rules, inside)
            elif stat.S_ISDIR(mode):
                self.enter(path, rules, (*inside, path.resolve()))
            else:
                self._file(path, path)
        except OSError as error:
            self.cannot_read(path, error)

    def _link(self, path: Path, rules: IgnoreRules, inside: tuple[Path, ...]) -> None:
        to, top = path.readlink(), inside[0]
        try:
            real = path.resolve(strict=True)
        except (OSError, RuntimeError):  # Python before 3.13 has RuntimeError for links that lead to one another
            self._wrong(path, f"is a link to `{to}`, which leads nowhere", "Mend it, or name it in .gitignore.")
            return
        if not real.is_relative_to(top) or LEFT_OUT & set(real.relative_to(top).parts):
            what = f"is a link to `{to}`, which is no part of the source"
            self._wrong(path, what, "Copy what it leads to, or name the link in .gitignore.")
        elif not real.is_dir():
            self._file(path, real)
        elif real in inside:
            self._wrong(path, f"is a link to `{to}`, a folder that it lies in itself", "Name it in .gitignore.")
        else:
            self.enter(path, rules, (*inside, real))

    def _file(self, path: Path, real: Path) -> None:
        status = real.stat()
        if not stat.S_ISREG(status.st_mode):
            what = f"`{self._shown(path)}` is a socket, a pipe or a device, and is left out."
            self.problems.append(warning(KEY, what))
        elif any(map(secret_files.is_named_like_a_secret, (path.name, real.name))):
            self.is_secret(self._shown(path), "has the name of one")
        else:
            executable = bool(status.st_mode & stat.S_IXUSR)
            self.found.append(_Found(path=self._shown(path), real=real, size=status.st_size, executable=executable))

    def check_sizes(self) -> None:
        """Says when this is more than code."""
        total, count = sum(item.size for item in self.found), len(self.found)
        largest = max(self.found, key=lambda item: item.size, default=None)
        if largest is None:
            self.problems.append(_problem(f"`{self.root.name}` holds no file that would be sent.", "See .gitignore."))
        elif total > LARGE:
            what = (
                f"The source has {_megabytes(total)}; the largest file is `{largest.path}`, {_megabytes(largest.size)}."
            )
            fix = "Name in .gitignore what is no code, and give data and models by data.path and model.path."
            self.problems.append(_problem(what, fix) if total > LARGEST else warning(KEY, what, fix))
        if count > MANY:
            what = f"The source has {count:,} files, each of which is sent on its own."
            self.problems.append(warning(KEY, what, "Name in .gitignore what the job does not need."))

    def is_secret(self, path: str, why: str) -> None:
        """Says that a file must not travel."""
        what = f"`{path}` looks like a secret: it {why}."
        fix = "Name it in .gitignore, or move it elsewhere; `secrets.NAME=secretsmanager:ID` hands a secret to the job."
        self.problems.append(_problem(what, fix))

    def _wrong(self, path: Path, what: str, fix: str) -> None:
        self.problems.append(_problem(f"`{_printable(self._shown(path))}` {what}.", fix))

    def cannot_read(self, path: Path, error: OSError) -> None:
        """Says that there is no access to a file or folder."""
        self._wrong(path, f"cannot be read: {error.strerror}", "Mend its permissions, or name it in .gitignore.")

    def _shown(self, path: Path) -> str:
        return path.relative_to(self.root).as_posix()


def local_file(path: Path) -> LocalFile:
    """Returns a file of this machine with its digest.

    Raises:
      OSError: it cannot be read.
    """
    read = secret_files.read(path)
    return LocalFile(path=path.absolute(), sha256=read.sha256, size=read.size)


def _taken(walk: _Walk, prefix: str) -> Iterator[BundleFile]:
    for item in walk.found:
        try:
            read = secret_files.read(item.real)
        except OSError as error:
            walk.cannot_read(walk.root / item.path, error)
            continue
        if read.secret:
            walk.is_secret(item.path, f"has {read.secret} in it")
        content = LocalFile(path=item.real, sha256=read.sha256, size=read.size)
        yield BundleFile(path=f"{prefix}/{item.path}", content=content, executable=item.executable)


def _is_no_source(folder: Path, names: list[str]) -> bool:
    """Whether this is a virtual environment, or the folder of a run."""
    return "pyvenv.cfg" in names or (folder / "bundle" / "manifest.json").is_file()


def _fault_of_name(path: str) -> str:
    try:
        path.encode()
    except UnicodeEncodeError:
        return "bytes that are no UTF-8"
    return "" if path.isprintable() else "a line break or another control character"


def _printable(path: str) -> str:
    return path if not _fault_of_name(path) else ascii(path)[1:-1]


def _megabytes(size: int) -> str:
    return f"{size / 1e6:,.0f} MB"


def _problem(what: str, fix: str) -> Problem:
    return Problem(key=KEY, what=what, fix=fix)
