"""What to run: grid files, the mixtures and trials they stand for, and the language table. Standard library only."""
