"""Files from outside: what there is, fetched and checked by digest."""
