"""Discovery and onboarding: finding servers by their BMCs, and making nodes of them."""
