"""Faces: what a portrait is, how speech moves it, and how both were made. Knows nothing of sessions or of Kafka."""
