# Notebooks.
