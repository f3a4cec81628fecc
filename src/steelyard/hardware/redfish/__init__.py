"""Finding and identifying management controllers (BMCs): `port` says what, `aio` does it, `fake` plays it."""
