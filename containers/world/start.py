"""The world's entry: finds the package beside this file and Debian's libraries without running `site`, which costs time."""

import sys

sys.path[:0] = ["/opt/world", "/usr/lib/python3/dist-packages"]

if __name__ == "__main__":
    from world.__main__ import run

    run()
