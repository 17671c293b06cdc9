"""
This package runs jobs: many prompts, each answered once, within one budget, resumed after any interruption.

```python
from og_integrations.jobs import BatchJob

progress = BatchJob("prompts.jsonl", model="openai/gpt-5.4-mini", out="answers.jsonl", concurrency=32).run()
print(progress.done, "of", progress.total, progress.totals)
```

`og-integrations batch` is the same as a command, and `BatchActor` the same for Ray Data.

| file | what it holds |
| --- | --- |
| `_batch` | the job: who asks, who tries again, what stops it |
| `_prompts` | what a line of a job's input is |
| `_answers` | what a job leaves, and how answers are found again |
| `_actor` | a class for `map_batches` of Ray Data |
"""

from typing import TYPE_CHECKING

from og_integrations._lazy import lazy_names

if TYPE_CHECKING:
    from og_integrations.jobs._actor import BatchActor
    from og_integrations.jobs._batch import BatchJob, Progress

__all__ = ["BatchActor", "BatchJob", "Progress"]

_HOMES = {
    "BatchActor": "og_integrations.jobs._actor",
    "BatchJob": "og_integrations.jobs._batch",
    "Progress": "og_integrations.jobs._batch",
}

if not TYPE_CHECKING:  # which would take any name for one of ours
    __getattr__, __dir__ = lazy_names(__name__, _HOMES)
