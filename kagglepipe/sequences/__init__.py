"""Video and series: how an item with a time axis is read."""
