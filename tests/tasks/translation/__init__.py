"""Tests of speech translation."""
