"""The process inside a stage's pod: loads one variant, batches, answers the protocol.

It must start fast, because every new replica waits for it: nothing heavy is imported here, and ONNX
Runtime enters through :mod:`serving.predictor.session` only.
"""
