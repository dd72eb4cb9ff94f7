"""Programs that a command starts beside training, and waits for: preparation, inference, Grad-CAM, trials."""
