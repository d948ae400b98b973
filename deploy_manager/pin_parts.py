"""What the parts of a requirement may have in them, so that they can be written into one line."""

import re

ENDS_A_MARKER = re.compile(r"[#\\$\x00-\x1f\x7f-\x9f\u2028\u2029]|\s-")
"""After these, pip reads the rest of a line as a comment, an option or another line.

A marker in a file may have them without being more than one line: as escapes in its quotes.
"""

EXTRA = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?")
