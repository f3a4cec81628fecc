"""The REST API's frame: application, authentication, problem+json, paging, limits."""
