"""What models said: the out-of-fold frame and all that reads it. Nothing here knows torch."""
