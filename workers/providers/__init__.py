"""One module per kind of provider, all behind one protocol."""
