"""The log: topics, codec, producer, consumer loop, folds, sealing. Imports only `schemas`."""

from events import reading

reading.install()
