"""Reading, caching and augmenting images."""
