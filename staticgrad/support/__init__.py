"""What every other package uses: errors, settings, caches, records, lines of the user's program."""
