"""The words that every room uses: frozen, typed, without input or output."""
