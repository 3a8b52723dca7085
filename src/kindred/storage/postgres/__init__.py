"""The Postgres store: one library in a Postgres database with pgvector, for many machines.

::

    backend.py      PostgresStore, the storage port
    connections.py  the address without its secrets, the pool, one transaction a thread
    failures.py     what psycopg's errors mean for people, and which of them pass
    tables.py       records to columns and back; COPY and upserts
    vector.py       vectors as pgvector sends and takes them
    search.py       filters and nearest vectors in SQL
    graph.py        the HNSW index of a space, built in the background
    migrate.py      the schema and its versions (Alembic; ``migrations/``)

Import the backend inside the function that needs it: it imports psycopg.
"""
