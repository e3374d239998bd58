"""Pictures: sheets of images, reliability diagrams, timelines, sweeps."""
