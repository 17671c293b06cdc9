"""`python -m og_integrations` is `og-integrations`."""

import sys

from og_integrations.cli import main

if __name__ == "__main__":
    sys.exit(main())
