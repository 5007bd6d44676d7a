"""Run a grid: plan it, train what is missing, keep what is finished. See `python -m engine --help`."""
