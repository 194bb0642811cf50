"""`upsctl setup`: from an installed program to a rack that is rehearsed, asking a person or going by a file of answers.

Each step looks first, does only what is missing, and says what came of it, so that it can be run again at any time.
"""
