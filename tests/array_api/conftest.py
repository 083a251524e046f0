"""What runs inside the public suite alone is no module of tests here."""

collect_ignore = ["suite_plugin.py"]
