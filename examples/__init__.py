"""Complete pipelines a user can copy. Nothing of penstock imports this package."""
