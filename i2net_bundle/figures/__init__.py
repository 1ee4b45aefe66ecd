"""Figures of images, label maps and scores."""
