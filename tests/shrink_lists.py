"""Take the lines that are no longer needed out of the lists of allowed faults: ``python tests/shrink_lists.py``.

Lines are only taken out. A new fault is to be mended, not listed.
"""

import test_argument_names
import test_docstrings

LISTS = {module.ALLOWED: module.all_faults for module in (test_argument_names, test_docstrings)}

if __name__ == "__main__":
    for path, faults in LISTS.items():
        before = path.read_text("utf-8").splitlines()
        after = sorted(set(before) & faults())
        path.write_text("".join(f"{line}\n" for line in after), "utf-8")
        print(f"{path.name}: {len(before)} lines before, {len(after)} now")
