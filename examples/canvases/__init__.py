"""Two-stage example pipelines on drawn canvases: find the items, then read them.

Shared by `examples/digits` and `examples/fashion`, which only differ in their source images, the
size of their canvases and the width of their nets. It draws canvases, trains a ladder of variants
for both stages, exports them as ONNX artifacts and writes the held-out requests that profiles,
accuracies and load tests use. Keras is imported by :mod:`examples.canvases.nets` and what calls it,
never by importing this package.
"""
