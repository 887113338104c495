"""The mark: what published frames say of themselves, unseen. Knows nothing of sessions and their events."""
