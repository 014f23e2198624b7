"""The weights that travel with the package, and `recipes`: how each of them was made."""
