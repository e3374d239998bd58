"""Models: image classifiers, recurrent and temporal models, pretrained weights."""
