"""Networks by name: our own, those of Keras Applications, and those that plug-ins build."""
