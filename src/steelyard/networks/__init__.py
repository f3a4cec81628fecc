"""Networks: tenants' own, and the operator's, which tenants neither see nor use."""
