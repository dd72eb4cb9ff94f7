"""What can be named: datasets, models, strategies, presets. Facts as TOML and plain values, without TensorFlow."""
