"""What a competition is and how its files become a table of images with folds."""
