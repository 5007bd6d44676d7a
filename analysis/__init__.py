"""What scores mean: matrices, their uncertainty, figures, reports. No Ray, no torch."""
