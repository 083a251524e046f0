"""What is built on the public names: comparison, tests for users, lints, pages, commands."""
