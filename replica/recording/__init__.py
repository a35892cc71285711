"""A recording of everything exchanged with one upstream: for finding out afterwards what really happened.

`format` says what is in the files, `files` writes and rotates them, `backlog` keeps the feed from ever
waiting for a disk, `recorder` is the tap that brings them together.
"""
