"""Random histories of a small cloud, against fakes that behave like the real services; see `test_random_histories`."""
