"""What a matrix can name: datasets, models, strategies, presets, backends; TOML and plain values, without TensorFlow."""
