"""Life cycle: the phases of a server, what may be done in each, and doing it."""
