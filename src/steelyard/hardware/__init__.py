"""What Steelyard asks of hardware directly: management controllers and switches, each behind a port."""
