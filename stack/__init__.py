"""The embedded real servers: Kafka, PostgreSQL and LiveKit without Docker.

For development, the demo and the tests. Facts behind the settings: docs/reference/stack.md.
"""
