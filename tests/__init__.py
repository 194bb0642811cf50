"""The tests; packages, so that a test can import the servers that others use too."""
