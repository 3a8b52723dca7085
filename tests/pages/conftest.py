"""What every test of a page needs."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import streamlit as st

from kindred.jobs.runner import Jobs


@pytest.fixture(autouse=True)
def _no_cache() -> Iterator[None]:
    """No cache of another test, and none for the next."""
    st.cache_resource.clear()
    st.cache_data.clear()
    yield
    st.cache_resource.clear()
    st.cache_data.clear()


@pytest.fixture
def jobs_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Jobs do their work as they are started, in this process."""
    monkeypatch.setattr(Jobs, "_spawn", lambda self, job_id: self.run(job_id))
