"""What spark-submit runs: a module of this project as a program, with the session that spark-submit made.

spark-submit FILE MODULE ARGUMENTS
"""

import runpy
import sys

if __name__ == "__main__":
    del sys.argv[0]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
