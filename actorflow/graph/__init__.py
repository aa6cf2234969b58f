"""Flows as values: what a stage is, how stages are put together, how it is drawn.

Nothing here runs. The public `Pipeline` adds the verbs, floors above.
"""

from actorflow.graph.handler import Handler, Kind
from actorflow.graph.pipeline import Flow, Node, compile_pipeline
from actorflow.graph.plan import Edge, Plan
from actorflow.graph.render import to_dot, to_mermaid, to_text
from actorflow.graph.stage import Stage, stage

__all__ = [
    "Edge",
    "Flow",
    "Handler",
    "Kind",
    "Node",
    "Plan",
    "Stage",
    "compile_pipeline",
    "stage",
    "to_dot",
    "to_mermaid",
    "to_text",
]
