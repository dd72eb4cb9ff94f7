"""Settings with forms of their own: arguments, augmentations, callbacks, losses, optimizers, patience, schedules."""
