"""``python -m recjobs.cli``: the command line of this Python."""

import sys

from recjobs.cli import main

sys.exit(main())
