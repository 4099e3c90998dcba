"""The commands of `penstock`, one file for each part of the work; `workflows.cli` joins them."""
