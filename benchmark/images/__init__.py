"""Pixels: picture files decoded and made squares, and arrays of images that stay compressed."""
