"""The steps of the bootstrap pipeline: files in, files out.

A component's body calls one of these, and so does the command line; kfp is not known here. Paths
are strings because that is what crosses from a component. Each output appears whole or not at all.
"""

from components.steps.measure import assemble_profiles, profile_pipeline, profile_variant
from components.steps.models import (
    Catalog,
    Uploaded,
    read_catalog,
    train_models,
    upload_models,
)
from components.steps.plan import apply_plan, optimize_plan, render_manifests
from components.steps.predict import (
    NONE_FILE,
    forecaster_key,
    gate_forecaster,
    train_forecaster,
)

__all__ = [
    "NONE_FILE",
    "Catalog",
    "Uploaded",
    "apply_plan",
    "assemble_profiles",
    "forecaster_key",
    "gate_forecaster",
    "optimize_plan",
    "profile_pipeline",
    "profile_variant",
    "read_catalog",
    "render_manifests",
    "train_forecaster",
    "train_models",
    "upload_models",
]
