"""The test kit for other people's switches: golden packets against any target."""
