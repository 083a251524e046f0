"""Products to source: register tiles, what is packed for them, and products that need neither."""
