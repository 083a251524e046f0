"""A plugin that runs inside the public suite alone is not a module of tests here."""

collect_ignore = ["suite_plugin.py"]
