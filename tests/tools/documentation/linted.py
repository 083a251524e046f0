"""Child process: runs an example as a user does, and lints every graph that it compiles.

    python -m tests.tools.documentation.linted <path of the example>

What the lints find is printed to standard error, and the status is 1 then.
"""

import runpy
import sys
from pathlib import Path

import staticgrad as sg
from staticgrad.tools.lints import lint


def main(path):
    compiled, compile_program = [], sg.compile

    def keep(what, **options):
        compiled.append(what)
        return compile_program(what, **options)

    sg.compile = keep
    sys.argv = [path]
    runpy.run_path(path, run_name="__main__")
    assert compiled or "sg.compile(" not in Path(path).read_text("utf-8")
    findings = [str(finding) for program in compiled for finding in lint(program)]
    if findings:
        sys.exit("\n".join(findings))


if __name__ == "__main__":
    main(sys.argv[1])
