"""A page that shows the masks of an output folder over their images: slices and surfaces, or slides with outlines."""
