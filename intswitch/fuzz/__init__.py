"""Arbitrary and mutated bytes against a running switch while a good job goes on."""
