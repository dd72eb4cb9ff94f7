"""Outputs of frozen layers, computed once and shared by cells."""
