"""The font of labels, and what cuts it out of its source."""
