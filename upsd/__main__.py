"""`python -m upsd`: the daemon."""

from upsd.daemon import main

if __name__ == "__main__":
    main()
