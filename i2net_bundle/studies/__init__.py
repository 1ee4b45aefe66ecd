"""Studies: a grid of networks, settings, seeds and folds, trained and scored alike, and its tables."""
