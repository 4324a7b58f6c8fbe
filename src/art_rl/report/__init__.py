"""From cells to tables and figures."""
