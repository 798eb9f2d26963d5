"""The directory that the agent works in: copied, compared, handed back.

Nothing here runs a process, and no configuration of git is read, neither the user's nor the workspace's own.
"""
