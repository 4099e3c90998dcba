"""The one place where the components name their image.

Kubeflow runs every component on this image. It is fixed when the pipeline is compiled; a run on
this machine never pulls it.
"""

import os

from penstock import settings

IMAGE = os.environ.get(settings.VARIABLES["image"], "").strip() or settings.IMAGE
"""The image of all components: ``PENSTOCK_IMAGE``, else the image of this version."""
