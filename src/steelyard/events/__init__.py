"""Events: the audit chain, timelines, streams and webhooks, and what is counted."""
