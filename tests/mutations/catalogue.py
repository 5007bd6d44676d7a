"""Every mutation."""

from tests.mutations import of_analysis, of_engine, of_tasks

MUTATIONS = (*of_tasks.MUTATIONS, *of_engine.MUTATIONS, *of_analysis.MUTATIONS)
