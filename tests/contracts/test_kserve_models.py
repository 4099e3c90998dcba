"""KServe's own models know every field that is rendered, and write it back as it was."""

from __future__ import annotations

import importlib
import re
import warnings

import pytest

from serving.render import RenderSettings, render
from tests import builders as make


@pytest.fixture(scope="module")
def models():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of kserve's and its dependencies' own imports
        kserve = importlib.import_module("kserve.models")
        client = importlib.import_module("kubernetes.client")
    return kserve, client


def model_of(name, models):
    plain = re.sub(r"K8sIo(?:Api|Apimachinery)[A-Z][a-z]+(?=V\d)", "", name)
    found = (getattr(p, n, None) for n in (name, plain) for p in models)
    return next(m for m in found if m is not None)


def read(value, kind, models):
    """Build a model from JSON; a field that the model does not know fails.

    KServe's clients cannot read their own models back (their issue 6168), hence this reader.
    """
    inner = re.fullmatch(r"(?:list\[|dict\(str, |dict\[str, )(.+)[\])]", kind)
    if inner and isinstance(value, list):
        return [read(v, inner[1], models) for v in value]
    if inner:
        return {k: read(v, inner[1], models) for k, v in value.items()}
    if not isinstance(value, dict) or kind == "object":
        return value
    model = model_of(kind, models)
    names = {json_name: name for name, json_name in model.attribute_map.items()}
    unknown = sorted(set(value) - set(names))
    assert not unknown, f"{kind} has no {unknown}"
    types = model.openapi_types
    return model(**{names[k]: read(v, types[names[k]], models) for k, v in value.items()})


@pytest.mark.slow
@pytest.mark.parametrize("autoscaling", ["fixed", "hpa", "keda", "external"])
def test_rendered_manifests_are_what_kserves_models_write(models, autoscaling):
    settings = RenderSettings(
        image="i:1", store_uri="s3://m", autoscaling=autoscaling, prometheus_url="http://p.m.svc"
    )
    known = {
        "InferenceService": "V1beta1InferenceService",
        "InferenceGraph": "V1alpha1InferenceGraph",
        "ConfigMap": "V1ConfigMap",
        "PodDisruptionBudget": "V1PodDisruptionBudget",
    }
    api = models[1].ApiClient()
    for manifest in render(make.pipeline(), make.plan(), settings):
        model = read(manifest, known[manifest["kind"]], models)
        assert api.sanitize_for_serialization(model) == manifest
