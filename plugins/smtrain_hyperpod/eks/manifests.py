"""The manifests of a job: `job.yaml`, and `kustomization.yaml`, which makes ConfigMaps of the bundle's files."""

from __future__ import annotations

from smtrain.plugin import BundleFile, Json
from smtrain_hyperpod.eks import yaml_text
from smtrain_hyperpod.eks.operator import Maps

JOB = "job.yaml"
KUSTOMIZATION = "kustomization.yaml"

_JOB_COMMENT = "The job; its files come in the ConfigMaps of kustomization.yaml."
_KUSTOMIZATION_COMMENT = "kubectl apply --server-side -k . sends the job and its files."


def files(manifest: dict[str, Json], maps: Maps) -> tuple[BundleFile, ...]:
    """Returns the files of the bundle that kubectl reads."""
    return (
        BundleFile(path=JOB, content=yaml_text.render(manifest, comment=_JOB_COMMENT)),
        BundleFile(path=KUSTOMIZATION, content=yaml_text.render(_kustomization(maps), comment=_KUSTOMIZATION_COMMENT)),
    )


def _kustomization(maps: Maps) -> dict[str, Json]:
    return {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "resources": [JOB],
        "generatorOptions": {
            # A suffix of kustomize's own would make other names than those that the job mounts.
            "disableNameSuffixHash": True,
            "labels": {"app.kubernetes.io/managed-by": "smtrain"},
        },
        "configMapGenerator": [each.generator for each in maps],
    }
