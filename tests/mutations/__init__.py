"""Does a test fail if the code is wrong? The code is broken on purpose, in one place at a time.

    python -m tests.mutations                 # every mutation: half an hour on two cores, less with -n
    python -m tests.mutations -n 4            # four at once
    python -m tests.mutations 3 "seed ignored in drawing"   # some of them, by number or name

The list stands in `of_tasks` (what is trained, on which data, scored how), `of_engine` (how it is run, kept and
resumed) and `of_analysis` (what it means). Each mutation is made in a copy of the repository, with a cache of its own,
and the tests that it names run there. The exit status is 1 if one survives, or can't be made any more.

Not covered: mutations nobody thought of.
"""
