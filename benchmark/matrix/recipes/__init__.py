"""Settings of a recipe with forms of their own: losses, optimizers, schedules."""
