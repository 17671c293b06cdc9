"""
A program that answers prompts on the Ray cluster at RAY_ADDRESS, with two workers: `ray_job.py COUNT OUT`.

The wallet and the network come from the environment, as do the ledger and the budget (`LEDGER`, `STORE`), which are in
PostgreSQL. It writes {"number", "answer", "error", "maybe_paid"} of each prompt to OUT, as JSON Lines, as they come.
"""

import json
import os
import sys
from pathlib import Path

WORKERS = 2
BATCH = 32
KEPT = ("number", "answer", "error", "maybe_paid")


def main(count: int, out: Path) -> None:
    """Ask `count` prompts."""
    import ray
    import ray.data

    from og_integrations.jobs import BatchActor

    ray.init(log_to_driver=False)
    given = {
        "model": "openai/gpt-5-mini",
        "ledger": os.environ["LEDGER"],
        "job": "tonight",
        "spend_policy": {"total": "10", "store": os.environ["STORE"]},
    }
    prompts = ray.data.from_items(
        [{"number": number, "prompt": f"question {number}"} for number in range(count)],
        override_num_blocks=max(2, count // 250),
    )
    workers = ray.data.ActorPoolStrategy(size=WORKERS)
    answers = prompts.map_batches(BatchActor, fn_constructor_kwargs=given, compute=workers, batch_size=BATCH)
    with out.open("w") as file:
        for row in answers.iter_rows():
            file.write(json.dumps({name: row[name] for name in KEPT}) + "\n")
            file.flush()
    ray.shutdown()


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]))
