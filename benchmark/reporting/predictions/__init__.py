"""What stored test predictions say, image by image: answers, outcomes, changes, ensembles, metrics."""
