"""The commands, by what they show."""
