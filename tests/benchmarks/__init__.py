"""Measurements of speed. Run all: `make bench`."""
