"""The files of a pod, laid out as the kubelet lays out a projected volume of ConfigMaps."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import cast

import yaml

from smtrain.plugin import Json
from smtrain_hyperpod.eks import layout, manifests

_CONTENT = "..data"
"""The folder behind the links that a container sees; the kubelet swaps it when a ConfigMap changes."""


def template(bundle: Path) -> dict[str, Json]:
    """Returns the pod template of a bundle's job, of its first replica."""
    document = cast("Json", yaml.safe_load((bundle / manifests.JOB).read_text(encoding="utf-8")))
    found = next(_templates(document), None)
    if found is None:
        message = f"{bundle / manifests.JOB} has no pod template"
        raise ValueError(message)
    return found


def mount(bundle: Path, folder: Path) -> None:
    """Makes in a folder what the pods find in `layout.BUNDLE`: links to files, at the paths that the job gives them."""
    maps = config_maps(bundle)
    content = folder / _CONTENT
    for source in _sources(template(bundle)):
        for key, path in source.items:
            target = content / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes((bundle / maps[source.name][key]).read_bytes())
    for entry in sorted(content.iterdir()):
        (folder / entry.name).symlink_to(Path(_CONTENT) / entry.name)


def config_maps(bundle: Path) -> Mapping[str, Mapping[str, str]]:
    """Returns ConfigMap → key → file of the bundle, as kustomize is told to make them."""
    document = yaml.safe_load((bundle / manifests.KUSTOMIZATION).read_text(encoding="utf-8"))
    return {each["name"]: dict(pair.split("=", 1) for pair in each["files"]) for each in document["configMapGenerator"]}


class _Source:
    def __init__(self, document: Mapping[str, Json]) -> None:
        config_map = cast("dict[str, Json]", document["configMap"])
        self.name = str(config_map["name"])
        items = cast("list[dict[str, Json]]", config_map["items"])
        self.items = [(str(item["key"]), str(item["path"])) for item in items]


def _sources(template: Mapping[str, Json]) -> Iterator[_Source]:
    volumes = cast("dict[str, Json]", template["spec"])["volumes"]
    for volume in cast("list[dict[str, Json]]", volumes):
        if volume["name"] == layout.FILES:
            projected = cast("dict[str, Json]", volume["projected"])
            yield from map(_Source, cast("list[dict[str, Json]]", projected["sources"]))


def _templates(value: Json) -> Iterator[dict[str, Json]]:
    match value:
        case {"template": dict() as found}:
            yield found
        case dict():
            for inner in value.values():
                yield from _templates(inner)
        case list():
            for inner in value:
                yield from _templates(inner)
        case _:
            return
