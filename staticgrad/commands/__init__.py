"""The command line: its commands, the demo, and what an installation is asked."""
