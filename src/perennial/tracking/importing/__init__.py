"""Bring what another tracking store holds into this one: read it, store its files, hand over its records.

Readers (`mlflow_sqlite`, `mlflow_folder`, `wandb_offline`) know a foreign store and nothing of ours. `bringing`
takes what they find to the owner of the records. Reading and storing bytes happen in the process of whoever imports.
"""

__all__: list[str] = []
