"""What crosses a wire: resources, events, errors, ids. Imports nothing of the project."""
