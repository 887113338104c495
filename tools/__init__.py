"""Makes what the pages of `docs/` show of the code, from the code. For maintainers: `make pages`."""
