"""Settings with forms of their own: augmentations, callbacks, losses, optimizers, patience, schedules."""
