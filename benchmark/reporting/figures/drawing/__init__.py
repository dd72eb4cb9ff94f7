"""What all figures share: style, text, images, files."""
