"""What a configuration runs, what it costs and what machine it needs."""
