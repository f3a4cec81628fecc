"""The clouds: `ports` says what Steelyard asks of one; `openstack` and `fake` answer. Only they know wire formats."""
