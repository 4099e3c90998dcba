"""Find garments on a canvas, then name them: the digits pipeline with heavier models."""
