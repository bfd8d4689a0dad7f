#!/usr/bin/env python3
"""Puts a session on the list for unlearning if its result is above the limit: unlearn.py --session NAME --right N --of M"""

import argparse
import configparser
from pathlib import Path


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--session", required=True)
    parser.add_argument("--right", type=int, required=True)
    parser.add_argument("--of", type=int, required=True)
    result = parser.parse_args()
    settings = configparser.ConfigParser()
    settings.read_string("[review]\n" + Path("/srv/review/settings.ini").read_text())
    limit = int(settings["review"]["unlearn_above"])
    if result.right * 100 > limit * result.of:
        print(f"{result.session}: on the list for {settings['review']['list']}")
    else:
        print(f"{result.session}: released as it is")


if __name__ == "__main__":
    main()
