"""Generated from control.proto, which says how. Not to be edited."""
