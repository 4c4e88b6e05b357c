"""`python -m leanline`: the same as `leanline`, where the script is not on the path."""

from leanline.cli import main

if __name__ == "__main__":
    main()
