"""What was downloaded -> a verified data set of this bundle."""
