"""Feed damaged and hostile files to every reader of the bundle: ``python -m fuzzing``.

`samples` writes one small valid input of each kind, `mutations` damages it, `targets` reads it as the commands do, and
`reader` runs the targets in a child process with limits. Every input must be read or refused with a message that names
the file. Anything else is a failure: a crash, a hang, an uncaught error, a memory blow-up, damaged weights accepted.
"""
