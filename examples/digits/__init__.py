"""Find handwritten digits on a canvas, then read them; needs no download."""
