"""``python -m jointrain`` does what the command ``jointrain`` does."""

from jointrain.cli import main

if __name__ == "__main__":
    main()
