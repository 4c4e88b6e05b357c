"""`python -m leanline.cli`, for where the `leanline` script is not on the path."""

from leanline.cli import main

if __name__ == "__main__":
    main()
