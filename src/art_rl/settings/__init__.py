"""The configuration: its keys, their rules, and what they ask for."""
