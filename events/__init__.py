"""The log: topics, codec, producer, consumer loop, folds, sealing. Imports only `schemas`."""

from events import connections, reading

connections.install()
reading.install()
