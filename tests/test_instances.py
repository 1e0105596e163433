"""The catalogue of instance types."""

import json
import re
from datetime import date
from pathlib import Path

import pytest

from smtrain.machines import instances

FILE = Path(instances.__file__).with_name("instances.json")
TABLES = json.loads(FILE.read_text(encoding="utf-8"))


def test_the_type_of_the_design_has_the_figures_of_its_data_sheet():
    it = instances.find("ml.g5.12xlarge")
    assert it is not None
    assert (it.gpus, it.gpu, it.vcpus, it.memory_gib, it.efa_interfaces) == (4, "A10G", 48, 192, 1)
    # 24 GB on the sheet; EC2 states 22,888 MiB.
    assert it.gpu_memory_gib == pytest.approx(22888 / 1024, abs=0.01)
    # 3,800 GB on the sheet.
    assert it.nvme_gib == 3_800_000_000_000 // 2**30
    assert it.compute_capability == 8.6


@pytest.mark.parametrize(
    ("name", "gpus", "gib", "capability", "efa"),
    [
        ("ml.g4dn.xlarge", 1, 16, 7.5, 0),
        ("ml.p3.16xlarge", 8, 16, 7.0, 0),
        ("ml.p4d.24xlarge", 8, 40, 8.0, 4),
        ("ml.p4de.24xlarge", 8, 80, 8.0, 4),
        ("ml.p5.48xlarge", 8, 80, 9.0, 32),
        ("ml.p5en.48xlarge", 8, 141, 9.0, 16),
        ("ml.g6e.48xlarge", 8, 44.7, 8.9, 4),
    ],
)
def test_gpu_types_have_the_figures_of_their_data_sheets(name, gpus, gib, capability, efa):
    it = instances.find(name)
    assert it is not None
    assert (it.gpus, it.compute_capability, it.efa_interfaces) == (gpus, capability, efa)
    assert it.gpu_memory_gib == pytest.approx(gib, rel=0.01)


def test_a_cpu_type_has_no_gpu_and_a_trainium_type_none_that_cuda_could_use():
    cpu, trainium = instances.find("ml.m5.large"), instances.find("ml.trn1.32xlarge")
    assert cpu is not None and trainium is not None
    assert (cpu.accelerator, cpu.gpus, cpu.compute_capability, cpu.nvme_gib) == ("cpu", 0, None, 0)
    assert (trainium.accelerator, trainium.gpus, trainium.compute_capability) == ("neuron", 0, None)


def test_a_name_is_found_without_its_prefix():
    assert instances.find("p5.48xlarge") == instances.find("ml.p5.48xlarge")
    assert instances.is_known_name("p5.48xlarge")


@pytest.mark.parametrize("name", ["", "ml.", "ML.G5.12XLARGE", "ml.g5.12xlarge\n", "ml.ml.g5.12xlarge", "g5", "🤖"])
def test_what_is_no_type_is_not_found(name):
    assert instances.find(name) is None
    assert not instances.is_known_name(name)


def test_a_type_without_figures_is_a_known_name():
    assert instances.find("ml.p6e-gb200.36xlarge") is None
    assert instances.is_known_name("ml.p6e-gb200.36xlarge")
    assert "ml.p6e-gb200.36xlarge" not in instances.known()


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("ml.g5.12x", "ml.g5.12xlarge"),
        ("g5.12xlrage", "ml.g5.12xlarge"),
        ("ml.p5.24xlarge", "ml.p5.4xlarge"),
        ("ml.p4d.24large", "ml.p4d.24xlarge"),
        # Nearer still is ml.p5.4xlarge; but the family was said.
        ("ml.p3.4xlarge", "ml.p3.8xlarge"),
        ("ml.g5en.48xlarge", "ml.p5en.48xlarge"),
    ],
)
def test_a_misspelt_type_is_suggested(typed, meant):
    assert instances.suggestion(typed) == f"Did you mean `{meant}`?"


def test_a_family_alone_gets_its_sizes():
    for name in ("p5", "ml.p5", "ml.p5.medium"):
        assert instances.suggestion(name) == "Choose a size: ml.p5.4xlarge, ml.p5.48xlarge."


def test_what_resembles_nothing_gets_the_families_with_gpus():
    hint = instances.suggestion("???")
    assert "ml.g5," in hint
    assert "ml.m5" not in hint


def test_a_price_is_that_of_the_region():
    it = instances.find("ml.g5.xlarge")
    assert it is not None
    price = instances.price(it, "ap-south-1")
    assert price == instances.Price(usd_per_hour=1.69, as_of="2026-09-24", region="ap-south-1", estimated=False)
    assert it.usd_per_hour["us-east-1"] == 1.408


def test_a_price_of_another_region_is_an_estimate_and_says_whose():
    g5, p5 = instances.find("ml.g5.xlarge"), instances.find("ml.p5.48xlarge")
    assert g5 is not None and p5 is not None
    assert instances.price(g5, "eu-central-1") == instances.Price(
        usd_per_hour=1.408, as_of="2026-09-24", region="us-east-1", estimated=True
    )
    elsewhere = instances.price(p5, "us-east-1")
    assert elsewhere is not None
    assert (elsewhere.region, elsewhere.estimated) == ("us-west-2", True)


def test_a_type_without_a_price_has_none():
    it = instances.find("ml.p6-b300.48xlarge")
    assert it is not None
    assert instances.price(it, "us-east-1") is None


def test_every_price_has_its_source_and_date_and_no_two_contradict():
    seen = set()
    for block in TABLES["prices"]:
        assert block["source"]
        assert date.fromisoformat(block["as_of"]) >= date(2021, 1, 1)
        assert re.fullmatch(r"[a-z]{2}(-[a-z]+)+-\d", block["region"])
        for name, usd in block["usd_per_hour"].items():
            assert name in TABLES["types"]
            assert 0 < usd < 1000
            assert (name, block["region"]) not in seen
            seen.add((name, block["region"]))


def test_the_names_are_botocores():
    """Fails when SageMaker offers a type that the catalogue has not heard of."""
    loaders = pytest.importorskip("botocore.loaders")
    model = loaders.Loader().load_service_model("sagemaker", "service-2")
    offered = set(model["shapes"]["TrainingInstanceType"]["enum"])
    catalogued = {*TABLES["types"], *TABLES["unknown"]}
    # An older botocore than the catalogue's offers less.
    assert not offered - catalogued
    assert not set(TABLES["types"]) & set(TABLES["unknown"])


def test_every_gpu_model_has_a_compute_capability_and_every_gpu_type_a_model():
    for name in instances.known():
        it = instances.find(name)
        assert it is not None
        assert (it.gpus > 0) == (it.accelerator == "gpu") == bool(it.gpu) == (it.compute_capability is not None)
        assert (it.gpus > 0) == (it.gpu_memory_gib > 0)
        assert it.vcpus > 0 and it.memory_gib > 0
