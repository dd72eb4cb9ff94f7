"""Changes training images at random: layers, RandAugment, mixing, and views at test time."""
