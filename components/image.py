"""The one place where the components name images: their own, and the one they render.

Kubeflow runs every component on the first. It is fixed when the pipeline is compiled; a run on this
machine never pulls it.
"""

import os

from penstock import settings


def _named(setting: str, default: str) -> str:
    return os.environ.get(settings.VARIABLES[setting], "").strip() or default


IMAGE = _named("image", settings.IMAGE)
"""The image of all components: ``PENSTOCK_IMAGE``, else the image of this version."""
PREDICTOR_IMAGE = _named("predictor_image", settings.PREDICTOR_IMAGE)
"""What a run renders unless told otherwise: ``PENSTOCK_PREDICTOR_IMAGE``, else this version's."""
