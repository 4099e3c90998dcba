"""The Kubeflow face of penstock: declarations only.

The body of a component is one import and one call; what it calls is what the command line calls.
Changes when kfp changes.
"""
