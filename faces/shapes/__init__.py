"""The 52 ARKit shapes at the points of the landmark net: the table, and what makes it."""
