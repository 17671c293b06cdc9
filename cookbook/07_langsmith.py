"""
LangSmith: each LLM run carries its receipt. Here the traces go to a few lines that stand in for LangSmith.

With the real one, set LANGSMITH_TRACING, LANGSMITH_API_KEY and LANGSMITH_PROJECT; nothing else changes.
"""

import json
import os
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

from langchain_core.tracers import LangChainTracer
from langsmith import Client

from og_integrations.langchain import ChatOpenGradient

posted = []
LIMITS = {"size_limit": 100, "size_limit_bytes": 20_000_000, "scale_up_nthreads_limit": 4, "scale_up_qsize_trigger": 9}


class Capture(BaseHTTPRequestHandler):
    """Takes what LangSmith's client posts, as plain batches."""

    def do_GET(self) -> None:
        """Say which format to send."""
        self.reply({"batch_ingest_config": LIMITS | {"use_multipart_endpoint": False}})

    def do_POST(self) -> None:
        """Keep what is sent."""
        posted.append(self.rfile.read(int(self.headers["Content-Length"])).decode())
        self.reply({})

    def reply(self, body: dict[str, object]) -> None:
        """Answer with JSON."""
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps(body).encode())

    def log_message(self, *_: object) -> None:
        """Print nothing."""


server = ThreadingHTTPServer(("127.0.0.1", 0), Capture)
Thread(target=server.serve_forever, daemon=True).start()
client = Client(api_url=f"http://127.0.0.1:{server.server_port}", api_key="any")

model = ChatOpenGradient(model="openai/gpt-5.2")
answer = model.invoke("Is this traced?", {"callbacks": [LangChainTracer(client=client)]})
model.close()
client.close()
server.shutdown()

runs = [run for body in posted for kind in json.loads(body).values() for run in kind if run.get("outputs")]
message = runs[0]["outputs"]["generations"][0][0]["message"]["kwargs"]
print("traced:", runs[0]["name"], "answered by", message["response_metadata"]["opengradient"]["tee_id"])
assert message["response_metadata"]["opengradient"] == answer.response_metadata["opengradient"]
assert not any(os.environ["OG_PRIVATE_KEY"][2:] in body for body in posted)
