"""Products to source: register tiles, packing for them, and products that need neither."""
