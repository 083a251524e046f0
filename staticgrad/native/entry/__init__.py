"""The native entry of a run: feeds are checked, results made and rows run in one call."""
