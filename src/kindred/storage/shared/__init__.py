"""A library on a remote store, and what makes it bearable when that store fails.

::

    backend    SharedBackend: reads from the store, else from this machine's copy; writes by outbox
    outbox     writes that the store has still to receive, durable and in order
    delivery   sends them
    mirror     brings this machine's copy up to date
    cache      bounded, between processes: lists, vectors, pictures, answers, audio
"""
