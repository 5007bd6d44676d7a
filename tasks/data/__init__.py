"""Corpora: what a release lists, what of it is prepared, and which clips a seed draws."""
